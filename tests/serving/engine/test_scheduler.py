from __future__ import annotations

import pytest

from serving.engine.errors import EngineFull
from serving.engine.scheduler import Claim, Scheduler
from serving.engine.settings import EngineSettings


def scheduler(*claims: Claim, **settings: int) -> Scheduler:
    made = Scheduler(EngineSettings(**settings))
    for claim in claims:
        made.submit(claim)
    return made


def test_admits_in_order_of_arrival() -> None:
    made = scheduler(Claim(5, 1, 10), Claim(3, 1, 10))
    assert made.admit() == [5, 3]
    assert (made.waiting, made.running) == (0, 2)
    assert made.admit() == []


def test_rows_are_limited_over_admissions() -> None:
    made = scheduler(Claim(0, 4, 10), Claim(1, 4, 10), Claim(2, 4, 10), max_batch_rows=8)
    assert made.admit() == [0, 1]
    assert made.admit() == []
    made.remove(0)
    assert made.admit() == [2]


def test_nobody_overtakes() -> None:
    made = scheduler(Claim(0, 5, 10), Claim(1, 4, 10), Claim(2, 1, 10), max_batch_rows=8)
    assert made.admit() == [0]
    assert made.admit() == []


def test_padded_source_tokens_are_limited_per_admission() -> None:
    """17 tokens are padded to 32, and so is a batchmate of 3: 64 fit, three of 32 do not."""
    made = scheduler(Claim(0, 1, 3), Claim(1, 1, 17), Claim(2, 1, 3), max_encode_tokens=64)
    assert made.admit() == [0, 1]
    assert made.admit() == [2]


def test_a_source_beyond_the_limit_goes_alone() -> None:
    made = scheduler(Claim(0, 1, 500), Claim(1, 1, 3), max_encode_tokens=64)
    assert made.admit() == [0]
    assert made.admit() == [1]


def test_the_queue_is_bounded() -> None:
    made = scheduler(Claim(0, 1, 3), Claim(1, 1, 3), max_queued_requests=2)
    with pytest.raises(EngineFull, match="max_queued_requests"):
        made.submit(Claim(2, 1, 3))
    made.admit()
    made.submit(Claim(2, 1, 3))
    assert made.waiting == 1


def test_removes_from_the_queue() -> None:
    made = scheduler(Claim(0, 1, 3), Claim(1, 1, 3))
    made.remove(0)
    assert made.admit() == [1]
