"""Both kinds of batching under a virtual clock, with an engine whose every step takes one second."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.arrivals import Load, Outcome, StaticPolicy, continuous, draw_load, highest_rate, static
from quant.artifact import read_artifact
from serving.engine.engine import Engine, EngineStats, Event, Finished
from serving.engine.errors import GenerationFailed
from serving.engine.request import GeneratedSequence, GenerationParameters, Request, Result
from serving.engine.runner import Runner
from serving.engine.runners import runner_for
from serving.engine.settings import EngineSettings

RESULT = Result((GeneratedSequence((2,), "length"),), 0.0, 0.0, 0.0)


class Seconds:
    """A timer that only steps move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeEngine:
    """Decodes up to `most` requests together, one token of each a step, which takes a second."""

    def __init__(self, most: int, timer: Seconds) -> None:
        self.most = most
        self.timer = timer
        self.left: dict[int, int] = {}
        self.batches: list[list[int]] = []
        self.decoded_rows = 0
        self.submitted = 0

    def submit(self, request: Request) -> int:
        self.left[self.submitted] = request.parameters.max_new_tokens
        self.submitted += 1
        return self.submitted - 1

    @property
    def has_work(self) -> bool:
        return bool(self.left)

    def stats(self) -> EngineStats:
        return EngineStats(longest_stall_seconds=0.25)

    def step(self) -> list[Event]:
        self.timer.now += 1.0
        running = list(self.left)[: self.most]
        self.batches.append(running)
        self.decoded_rows = len(running)
        for request in running:
            self.left[request] -= 1
        ended = [request for request in running if not self.left[request]]
        self.left = {request: left for request, left in self.left.items() if left}
        return [Finished(request, RESULT) for request in ended]


def load(*new_tokens: int, gaps: tuple[float, ...] = (), sources: tuple[int, ...] = ()) -> Load:
    requests = [
        Request((7,) * source, GenerationParameters(tokens, 2, (2,), min_new_tokens=tokens))
        for tokens, source in zip(new_tokens, sources or (1,) * len(new_tokens), strict=True)
    ]
    return Load(tuple(requests), gaps or (1.0,) * len(new_tokens))


def test_continuous_batching_answers_each_request_when_it_ends() -> None:
    timer = Seconds()
    # They come at 1, 2 and 12; the clock jumps from 5, when all is done, to 12.
    outcome = continuous(FakeEngine(2, timer), load(4, 2, 3, gaps=(1.0, 1.0, 10.0)), rate=1.0, timer=timer)
    assert outcome.latencies == (2.0, 4.0, 3.0)
    assert outcome.seconds == 14.0
    assert outcome.mean_rows == pytest.approx((1 + 2 + 2 + 1 + 1 + 1 + 1) / 7)
    assert outcome.longest_stall == 0.25
    assert timer.now == 7.0, "idle time costs nothing"


def test_static_batching_answers_a_batch_when_all_of_it_has_ended() -> None:
    timer = Seconds()
    engine = FakeEngine(9, timer)
    # The first comes at 1 and runs alone to 5; the two that came meanwhile run together to 8.
    outcome = static(engine, load(4, 1, 3), 1.0, StaticPolicy(9, by_length=False, drops_ended=True), timer=timer)
    assert outcome is not None
    assert outcome.latencies == (4.0, 6.0, 5.0)
    assert engine.batches == [[0], [0], [0], [0], [1, 2], [2], [2]]


def test_rows_that_have_ended_may_be_kept_to_the_end_of_their_batch() -> None:
    timer = Seconds()
    engine = FakeEngine(9, timer)
    outcome = static(engine, load(4, 1, 3), 1.0, StaticPolicy(9, by_length=False, drops_ended=False), timer=timer)
    assert outcome is not None
    assert outcome.latencies == (4.0, 6.0, 5.0)
    assert engine.batches == [[0], [0], [0], [0], [1, 2], [1, 2], [1, 2]]


def test_a_faster_rate_brings_the_same_requests_sooner() -> None:
    one = load(1, 1, gaps=(2.0, 4.0))
    assert one.arrivals(1.0) == [2.0, 6.0]
    assert one.arrivals(2.0) == [1.0, 3.0]
    assert one.arrivals(math.inf) == [0.0, 0.0]


def test_a_hopeless_static_run_is_given_up() -> None:
    runs = []
    for allowed in (1, 2):
        timer = Seconds()
        engine = FakeEngine(1, timer)
        runs.append(
            static(engine, load(9, 1, 1, 1), 1.0, StaticPolicy(1, by_length=False, drops_ended=True), (3.0, allowed), timer)
        )
        steps = len(engine.batches)
    assert runs == [None, None]
    assert steps < 12, "the last request was not run"
    timer = Seconds()
    assert (
        static(
            FakeEngine(1, timer), load(9, 1, 1, 1), 1.0, StaticPolicy(1, by_length=False, drops_ended=True), (3.0, 4), timer
        )
        is not None
    )


def test_batches_by_length_have_the_oldest_and_those_like_it() -> None:
    requests = load(1, 1, 1, 1, sources=(10, 500, 12, 9)).requests
    assert StaticPolicy(3, by_length=False, drops_ended=True).take([0, 1, 2, 3], requests) == [0, 1, 2]
    assert StaticPolicy(3, by_length=True, drops_ended=True).take([0, 1, 2, 3], requests) == [0, 3, 2]


def test_a_batch_is_limited_by_rows_and_never_empty() -> None:
    wide = Request((7,), GenerationParameters(1, 2, (2,), num_beams=4))
    assert StaticPolicy(8, by_length=False, drops_ended=True).take([0, 1, 2], (wide, wide, wide)) == [0, 1]
    assert StaticPolicy(2, by_length=False, drops_ended=True).take([0, 1, 2], (wide, wide, wide)) == [0]


def test_percentiles_are_nearest_ranks() -> None:
    outcome = Outcome(tuple(float(number) for number in range(200, 0, -1)), 100.0, 1.0, 0.0)
    assert [outcome.percentile(share) for share in (0.5, 0.9, 0.99, 1.0)] == [100.0, 180.0, 198.0, 200.0]
    assert outcome.throughput == 2.0


def test_a_fault_ends_the_bench() -> None:
    class Broken(FakeEngine):
        def step(self) -> list[Event]:
            return [Finished(0, GenerationFailed("broken"))]

    timer = Seconds()
    with pytest.raises(GenerationFailed, match="broken"):
        continuous(Broken(1, timer), load(1), 1.0, timer)


@given(st.floats(0.0, 1.0))
def test_bisection_finds_the_highest_rate(limit: float) -> None:
    found = highest_rate(lambda rate: rate <= limit, 0.0, 1.0, halvings=6)
    assert limit - 2**-6 <= found <= limit


def test_loads_are_within_their_bounds_and_depend_on_the_seed() -> None:
    drawn = draw_load(3, 200, (1, 4), 203, start=2, eos=2, longest=160)
    assert drawn == draw_load(3, 200, (1, 4), 203, start=2, eos=2, longest=160)
    assert drawn != draw_load(4, 200, (1, 4), 203, start=2, eos=2, longest=160)
    lengths = [len(request.source_ids) for request in drawn.requests]
    outputs = [request.parameters.max_new_tokens for request in drawn.requests]
    assert min(lengths) >= 32
    assert max(lengths) == 160
    assert min(outputs) >= 8
    assert max(outputs) <= 128
    assert all(request.parameters.min_new_tokens == request.parameters.max_new_tokens for request in drawn.requests)
    assert {request.parameters.num_beams for request in drawn.requests} == {1, 4}


@pytest.fixture(scope="module")
def tiny_runner(tiny_student: Path) -> Runner:
    return runner_for(read_artifact(tiny_student), EngineSettings(), "pytorch")


def test_the_engine_serves_every_request_either_way(tiny_runner: Runner) -> None:
    drawn = draw_load(0, 6, (1, 2), 203, start=2, eos=2, longest=160)
    outcomes = [
        continuous(Engine(tiny_runner, EngineSettings()), drawn, 50.0),
        static(Engine(tiny_runner, EngineSettings()), drawn, 50.0, StaticPolicy(4, by_length=True, drops_ended=True)),
    ]
    for outcome in outcomes:
        assert outcome is not None
        assert len(outcome.latencies) == 6
        assert min(outcome.latencies) > 0
        assert 1 <= outcome.mean_rows <= 12
