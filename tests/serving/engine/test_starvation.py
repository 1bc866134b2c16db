"""Nobody starves: whatever comes behind a request does not delay it, so that its wait is bounded by the work ahead of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.cache_budget import CacheBudget
from serving.engine.engine import Engine, Finished
from serving.engine.errors import EngineFull
from serving.engine.settings import EngineSettings
from tests.serving.engine.idle_runner import PAGE, IdleRunner, Visit

SHORT, LONG = Visit(source_tokens=8, new_tokens=4), Visit(source_tokens=1000, new_tokens=50)
TIGHT: dict[str, int] = {
    "max_batch_rows": 4,
    # The long one fits only alone.
    "max_cache_bytes": 1055,
    "max_queued_requests": 8,
    "encode_tokens_per_step": 64,
}


def waits(arrivals: Sequence[Sequence[Visit]], settings: EngineSettings, models: int = 1) -> list[tuple[Visit, int, int]]:
    """What came, how many turns it took from its submission to its end, and how many those ahead of it and itself may take.

    In a turn each model's engine steps once, over one budget. `arrivals` come before each turn; those that a queue has no
    room for try again before the next, in their order.
    """
    budget = CacheBudget(settings.max_cache_bytes)
    engines = [Engine(IdleRunner(), settings, budget) for _ in range(models)]
    to_come: list[Visit] = []
    here: dict[tuple[int, int], tuple[Visit, int, int]] = {}
    ended = []
    turn = 0
    while turn < len(arrivals) or to_come or any(engine.has_work for engine in engines):
        to_come += arrivals[turn] if turn < len(arrivals) else []
        try:
            while to_come:
                request_id = engines[to_come[0].model].submit(to_come[0].request())
                visit = to_come.pop(0)
                bound = visit.steps + sum(ahead.steps for ahead, _, _ in here.values())
                here[visit.model, request_id] = (visit, turn, bound)
        except EngineFull:
            pass
        turn += 1
        for model, engine in enumerate(engines):
            for event in engine.step():
                assert isinstance(event, Finished)
                visit, arrived, bound = here.pop((model, event.request_id))
                ended.append((visit, turn - arrived, bound))
        assert budget.claimed <= budget.max_bytes
    assert not here
    assert budget.claimed == 0
    return ended


@pytest.mark.parametrize(("one", "flow"), [(LONG, SHORT), (SHORT, LONG)])
def test_one_of_a_kind_does_not_wait_for_a_steady_flow_of_the_other(one: Visit, flow: Visit) -> None:
    # More comes at each step than is answered in it, before the one and for long after.
    arrivals = [[flow, flow] for _ in range(60)]
    arrivals[10] = [flow, one, flow]
    ended = waits(arrivals, EngineSettings(**TIGHT))
    ((place, steps, bound),) = [(place, steps, bound) for place, (visit, steps, bound) in enumerate(ended) if visit is one]
    assert steps <= bound
    # Most of the flow was still to come.
    assert place < len(ended) // 2
    assert all(steps <= bound for _, steps, bound in ended)


VISITS = st.builds(Visit, st.sampled_from([1, 8, 100, 1000]), st.sampled_from([1, 4, 20, 50]))


@given(
    arrivals=st.lists(st.lists(VISITS, max_size=3), max_size=12),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "max_batch_rows": st.sampled_from([1, 2, 64]),
            "max_cache_bytes": st.sampled_from([1055, 2500, 10**6]),
            "max_queued_requests": st.sampled_from([1, 3, 100]),
            "max_encode_tokens": st.sampled_from([1, 128, 4096]),
            "encode_tokens_per_step": st.sampled_from([1, 64, 4096]),
        },
    ),
)
def test_nobody_waits_longer_than_for_those_ahead(arrivals: list[list[Visit]], changes: dict[str, Any]) -> None:
    ended = waits(arrivals, EngineSettings(**{**TIGHT, **changes}))
    assert len(ended) == sum(map(len, arrivals))
    assert all(steps <= bound for _, steps, bound in ended)


@pytest.mark.parametrize(("one", "flow"), [(LONG, SHORT), (SHORT, LONG)])
@pytest.mark.parametrize("model", [0, 1])
def test_one_model_does_not_wait_for_a_steady_flow_to_another(one: Visit, flow: Visit, model: int) -> None:
    flow = replace(flow, model=1 - model)
    one = replace(one, model=model)
    arrivals = [[flow, flow] for _ in range(60)]
    arrivals[10] = [flow, one, flow]
    # Nobody waits for the other model's flow to find room in its queue.
    ended = waits(arrivals, EngineSettings(**{**TIGHT, "max_queued_requests": 1000}), models=2)
    ((place, turns, bound),) = [(place, turns, bound) for place, (visit, turns, bound) in enumerate(ended) if visit is one]
    assert turns <= bound
    assert place < len(ended) // 2


@given(
    arrivals=st.lists(st.lists(st.builds(replace, VISITS, model=st.integers(0, 2)), max_size=4), max_size=12),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "max_batch_rows": st.sampled_from([1, 2, 64]),
            "max_cache_bytes": st.sampled_from([1055, 1500, 2500, 10**6]),
            "encode_tokens_per_step": st.sampled_from([1, 64, 4096]),
        },
    ),
)
def test_models_that_share_a_budget_are_never_slower_than_one_request_after_another(
    arrivals: list[list[Visit]], changes: dict[str, Any]
) -> None:
    ended = waits(arrivals, EngineSettings(**{**TIGHT, **changes}), models=3)
    visits = [visit for each in arrivals for visit in each]
    assert len(ended) == len(visits)
    # A growth may cost a turn, in which another model's request gives way.
    serial = sum(visit.steps + visit.new_tokens // PAGE for visit in visits)
    assert all(turns <= serial for _, turns, _ in ended)
