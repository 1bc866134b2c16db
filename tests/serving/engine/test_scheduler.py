from __future__ import annotations

import pytest

from serving.engine.cache_budget import CacheBudget
from serving.engine.errors import EngineFull
from serving.engine.scheduler import Claim, Scheduler
from serving.engine.settings import EngineSettings
from serving.engine.turn import Turn


def claim(request_id: int, rows: int = 1, source_tokens: int = 10, cache_bytes: int = 1, next_bytes: int = 0) -> Claim:
    return Claim(request_id, rows, source_tokens, cache_bytes, next_bytes)


def scheduler(*claims: Claim, encoder_layers: int = 6, **settings: int) -> Scheduler:
    engine_settings = EngineSettings(**settings)
    made = Scheduler(engine_settings, encoder_layers, CacheBudget(engine_settings.max_cache_bytes))
    for each in claims:
        made.submit(each)
    return made


def turn(made: Scheduler) -> Turn:
    """The next one of an engine that is alone: rows wait where anything runs."""
    return Turn(rows_wait=bool(made._running))


def admit(made: Scheduler) -> list[int]:
    """Admit, and encode at once."""
    admitted = made.admit(turn(made))
    if admitted:
        made.take_layers(turn(made))
        made.encoded()
    return admitted


def test_admits_in_order_of_arrival() -> None:
    made = scheduler(claim(5, rows=2, cache_bytes=7), claim(3))
    assert (made.waiting, made.admitted) == (2, 0)
    assert made.admit(turn(made)) == [5, 3]
    assert (made.waiting, made.admitted, made.rows, made.cache_bytes) == (0, 2, 3, 8)
    made.encoded()
    assert (made.waiting, made.admitted, made.rows, made.cache_bytes) == (0, 2, 3, 8)
    assert made.admit(turn(made)) == []


def test_arrivals_wait_while_others_are_encoded() -> None:
    made = scheduler(claim(0))
    made.admit(turn(made))
    made.submit(claim(1))
    assert made.admit(turn(made)) == []
    made.encoded()
    assert made.admit(turn(made)) == [1]


def test_rows_are_limited_over_admissions() -> None:
    made = scheduler(claim(0, rows=4), claim(1, rows=4), claim(2, rows=4), max_batch_rows=8)
    assert admit(made) == [0, 1]
    assert admit(made) == []
    made.release(0)
    assert admit(made) == [2]


def test_cache_bytes_are_limited_over_admissions() -> None:
    made = scheduler(claim(0, cache_bytes=60), claim(1, cache_bytes=40), claim(2, cache_bytes=60), max_cache_bytes=100)
    assert admit(made) == [0, 1]
    made.release(1)
    assert admit(made) == []
    made.release(0)
    assert admit(made) == [2]


def test_nobody_overtakes() -> None:
    made = scheduler(claim(0, rows=5), claim(1, rows=4), claim(2, rows=1), max_batch_rows=8)
    assert admit(made) == [0]
    assert admit(made) == []


def test_padded_source_tokens_are_limited_per_encoding() -> None:
    """17 tokens are padded to 32, and so is a batchmate of 3: 64 fit, three of 32 do not."""
    made = scheduler(*(claim(place, source_tokens=tokens) for place, tokens in enumerate((3, 17, 3))), max_encode_tokens=64)
    assert admit(made) == [0, 1]
    assert admit(made) == [2]


def test_a_source_beyond_the_limit_goes_alone() -> None:
    made = scheduler(claim(0, source_tokens=500), claim(1, source_tokens=3), max_encode_tokens=64)
    assert admit(made) == [0]
    assert admit(made) == [1]


def test_nothing_is_sliced_while_nothing_runs() -> None:
    made = scheduler(claim(0, source_tokens=4000), encode_tokens_per_step=1)
    made.admit(turn(made))
    assert made.take_layers(turn(made)) == 6


def test_long_sources_are_sliced_while_others_run() -> None:
    """1000 tokens are padded to 1008; of six layers 512 tokens' worth is 6 * 512 / 1008 = 3.05."""
    made = scheduler(claim(0), encode_tokens_per_step=512)
    admit(made)
    made.submit(claim(1, source_tokens=1000))
    assert made.admit(turn(made)) == [1]
    assert [made.take_layers(turn(made)), made.take_layers(turn(made))] == [3, 3]


def test_while_rows_decode_only_what_a_step_encodes_is_encoded_together() -> None:
    """One of 128 tokens fills the step; padded to it, the next one would not fit."""
    made = scheduler(claim(0), encode_tokens_per_step=128)
    admit(made)
    for request_id, tokens in ((1, 120), (2, 16), (3, 60), (4, 60), (5, 1)):
        made.submit(claim(request_id, source_tokens=tokens))
    assert made.admit(turn(made)) == [1]
    assert made.take_layers(turn(made)) == 6
    made.encoded()
    assert [admit(made), admit(made), admit(made)] == [[2, 3], [4, 5], []]


def test_at_least_one_layer_is_run_and_no_more_than_there_are() -> None:
    made = scheduler(claim(0), encoder_layers=3, encode_tokens_per_step=8)
    admit(made)
    made.submit(claim(1, source_tokens=100))
    made.admit(turn(made))
    assert [made.take_layers(turn(made)) for _ in range(3)] == [1, 1, 1]
    made.encoded()
    made.submit(claim(2, source_tokens=1))
    made.admit(turn(made))
    assert made.take_layers(turn(made)) == 1
    made.release(0)
    made.release(1)
    assert made.take_layers(turn(made)) == 2


def test_the_queue_is_bounded() -> None:
    made = scheduler(claim(0), claim(1), max_queued_requests=2)
    with pytest.raises(EngineFull, match="max_queued_requests"):
        made.submit(claim(2))
    made.admit(turn(made))
    made.submit(claim(2))
    assert made.waiting == 1


def test_withdraws_from_the_queue_only() -> None:
    made = scheduler(claim(0), claim(1))
    assert made.withdraw(0)
    assert admit(made) == [1]
    assert not made.withdraw(1)
    assert made.admitted == 1


def test_what_is_released_while_it_is_encoded_holds_nothing() -> None:
    made = scheduler(claim(0, rows=8), claim(1, rows=8), max_batch_rows=8)
    assert made.admit(turn(made)) == [0]
    made.release(0)
    assert made.admitted == 0
    assert made.admit(turn(made)) == [1]


def test_who_is_set_back_comes_before_all_later_ones_and_claims_anew() -> None:
    made = scheduler(*(claim(number, cache_bytes=20) for number in range(4)), max_cache_bytes=70, max_queued_requests=4)
    assert admit(made) == [0, 1, 2]
    made.submit(claim(4))
    made.set_back(claim(2, cache_bytes=40))
    made.set_back(claim(1, cache_bytes=30))
    assert (made.waiting, made.admitted, made.cache_bytes, made.set_back_requests) == (4, 1, 20, 2)
    assert admit(made) == [1]
    made.release(0)
    assert admit(made) == [2]


def test_who_is_set_back_may_make_the_queue_longer_than_its_bound() -> None:
    made = scheduler(claim(0), max_queued_requests=1)
    admit(made)
    made.submit(claim(1))
    made.set_back(claim(0))
    assert made.waiting == 2
    with pytest.raises(EngineFull, match="2 requests are queued"):
        made.submit(claim(2))


def test_what_is_being_encoded_can_be_set_back() -> None:
    made = scheduler(claim(0), claim(1))
    assert made.admit(turn(made)) == [0, 1]
    made.set_back(claim(1))
    made.set_back(claim(0))
    assert (made.waiting, made.admitted, made.cache_bytes) == (2, 0, 0)
    assert made.admit(turn(made)) == [0, 1]


def test_who_came_last_is_told_to_give_way_when_one_cannot_grow() -> None:
    first, second = (claim(number, cache_bytes=40, next_bytes=10) for number in (0, 1))
    made = scheduler(first, second, max_cache_bytes=90)
    assert admit(made) == [0, 1]
    assert made.grow(0, 10)
    assert made.giving_way() == []
    assert not made.grow(1, 0)
    assert made.giving_way() == [1]
    made.set_back(second)
    assert made.giving_way() == []
    assert made.grow(0, 0)


def test_engines_of_one_budget_share_its_bytes_and_its_order() -> None:
    settings, budget = EngineSettings(), CacheBudget(100)
    one, other = (Scheduler(settings, 6, budget) for _ in range(2))
    for number, made in enumerate((one, other, one)):
        made.submit(claim(number, cache_bytes=60))
    assert admit(one) == [0]
    assert admit(other) == []
    one.release(0)
    assert admit(one) == []
    assert admit(other) == [1]
    other.close()
    assert admit(one) == [2]
