from collections.abc import Sequence

import pytest
import torch

from compress.training.clock import Clock
from compress.training.group import Alone
from compress.training.pace import Pace, TimeLimit


def pace(steps: int, limit: TimeLimit | None = None, times: Sequence[float] = (), schedule="linear", warmup=0.0) -> Pace:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    moments = iter(times)
    return Pace(optimizer, schedule, warmup, steps, limit, Alone(), lambda _: Clock(lambda: next(moments)))


def rates(paced: Pace, most: int = 100) -> list[float]:
    """Of each step until the end."""
    found = []
    while not paced.finished and len(found) < most:
        found.append(paced.rate)
        with paced.running():
            paced.scheduler.optimizer.step()
        paced.advance()
    return found


def test_a_run_of_steps_decays_over_them() -> None:
    paced = pace(4)
    assert paced.steps == 4
    assert rates(paced) == [1.0, 0.75, 0.5, 0.25]
    assert (paced.step, paced.seconds) == (4, 0.0)
    assert pace(0).finished


def test_a_run_of_minutes_decays_over_them_and_ends_with_the_step_that_passes_them() -> None:
    # Steps of 15, 15 and 40 seconds, of the 60 that there are; what lies between them does not count.
    paced = pace(9999, TimeLimit(1.0), times=(0, 15, 100, 115, 200, 240))
    assert paced.steps == 0
    assert rates(paced) == pytest.approx([1.0, 0.75, 0.5])
    assert (paced.step, paced.steps, paced.seconds) == (3, 3, 70.0)
    assert paced.rate == 0.0


def test_warm_up_is_a_share_of_the_time() -> None:
    assert rates(pace(0, TimeLimit(1.0), times=(0, 6, 6, 12, 12, 60), warmup=0.2)) == pytest.approx([0.0, 0.5, 1.0])


def test_steps_are_estimated_from_those_that_were_made() -> None:
    paced = pace(0, TimeLimit(1.0), times=(0, 4, 4, 8))
    rates(paced, most=2)
    assert paced.steps == 15


def test_what_was_interrupted_goes_on_where_it_was() -> None:
    whole, first = (pace(0, TimeLimit(1.0), times=(0, 15, 15, 30, 30, 61)) for _ in range(2))
    assert len(rates(whole)) == 3
    rates(first, most=2)
    second = pace(0, TimeLimit(1.0), times=(30, 61))
    second.scheduler.load_state_dict(first.scheduler.state_dict())
    second.resume(first.step, first.seconds)
    assert rates(second) == pytest.approx([0.5])
    assert (second.step, second.seconds) == (3, 61.0)
