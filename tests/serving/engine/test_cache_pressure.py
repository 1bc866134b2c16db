"""Where memory ends, who came last gives way and is begun again: nobody is lost, and every token is what it is alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from serving.engine.cache_budget import CacheBudget
from serving.engine.engine import Emitted, Engine, Finished
from serving.engine.errors import GenerationFailed, InvalidRequest
from serving.engine.pytorch.model import Model
from serving.engine.pytorch.runner import PyTorchRunner
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.runner import Runner, Source
from serving.engine.settings import EngineSettings
from tests.serving.engine.conftest import RUNNERS

LONG = GenerationParameters(
    max_new_tokens=50, min_new_tokens=50, decoder_start_token_id=2, eos_token_ids=(2,), return_scores=True
)
REQUEST = Request((5, 6, 7, 2), LONG)
BEAMS = replace(REQUEST, parameters=replace(LONG, num_beams=3, num_return_sequences=2))
DRAWS = replace(REQUEST, parameters=replace(LONG, do_sample=True, num_return_sequences=2, top_k=5, seed=9))
STREAMED = replace(REQUEST, source_ids=(9, 8, 2), stream=True)
STREAMED_BEAMS = replace(STREAMED, parameters=replace(LONG, num_beams=2))


class Told:
    """What engines tell, taking turns until all have ended."""

    def __init__(self, *engines: Engine) -> None:
        self.engines = engines
        self.streamed: dict[tuple[int, int], tuple[int, ...]] = {}
        self.outcomes: dict[tuple[int, int], Result | Exception] = {}

    def turn(self, *numbers: int) -> None:
        """Of these engines, or of all."""
        for number in numbers or range(len(self.engines)):
            for each in self.engines[number].step():
                key = number, each.request_id
                assert key not in self.outcomes
                if isinstance(each, Emitted):
                    self.streamed[key] = self.streamed.get(key, ()) + each.token_ids
                else:
                    self.outcomes[key] = each.outcome

    def all(self) -> None:
        for _ in range(3000):
            if not any(engine.has_work for engine in self.engines):
                return
            self.turn()
        raise AssertionError("somebody never ends")

    @property
    def set_back(self) -> int:
        return sum(engine.stats().set_back_requests for engine in self.engines)


def worst(runner: Runner, request: Request) -> int:
    parameters = request.parameters
    rows = max(parameters.num_beams, parameters.num_return_sequences)
    source = Source(request.source_ids, rows, parameters.max_new_tokens)
    return runner.cache_bytes(source, source.positions)


_ALONE: dict[tuple[type, str, Request], Result] = {}


def alone(runner: Runner, request: Request) -> Result:
    key = type(runner), runner.architecture.model_type, replace(request, stream=False)
    if key not in _ALONE:
        _ALONE[key] = run_alone(runner, key[2])
    return _ALONE[key]


def run_alone(runner: Runner, request: Request) -> Result:
    told = Told(Engine(runner, EngineSettings()))
    told.engines[0].submit(request)
    told.all()
    (outcome,) = told.outcomes.values()
    assert isinstance(outcome, Result), outcome
    return outcome


def check(told: Told, asked: dict[tuple[int, int], Request], runners: Sequence[Runner]) -> None:
    """Everybody has the tokens and scores that they have alone, and those that were streamed once each, in order."""
    assert told.outcomes.keys() == asked.keys()
    for key, request in asked.items():
        outcome = told.outcomes[key]
        assert isinstance(outcome, Result), outcome
        assert outcome.sequences == alone(runners[key[0]], request).sequences
        if request.stream:
            assert told.streamed[key] == outcome.sequences[0].token_ids
    for engine, runner in zip(told.engines, runners, strict=True):
        assert engine.stats().cache_bytes == runner.rows == runner.spare_bytes == 0


@pytest.fixture
def runner(build_student: Any) -> PyTorchRunner:
    return PyTorchRunner(Model(build_student("bart", "2-2-8").artifact))


@pytest.mark.parametrize("name", ["pytorch", "native"])
def test_as_many_as_have_room_run_and_all_have_the_tokens_they_have_alone(name: str, build_student: Any) -> None:
    runners = [RUNNERS[name](build_student(architecture, "2-2-8").artifact) for architecture in ("bart", "mbart")]
    kinds = [REQUEST, BEAMS, STREAMED, DRAWS, STREAMED_BEAMS, REQUEST]
    budget = CacheBudget(max(worst(runner, request) for runner in runners for request in kinds))
    told = Told(*(Engine(runner, EngineSettings(), budget) for runner in runners))
    asked = {(number, engine.submit(request)): request for request in kinds for number, engine in enumerate(told.engines)}
    together = 0
    for _ in range(3000):
        told.turn()
        assert budget.claimed <= budget.max_bytes
        together = max(together, sum(engine.stats().running_requests for engine in told.engines))
        if not any(engine.has_work for engine in told.engines):
            break
    assert together > 2
    assert told.set_back > 0
    check(told, asked, runners)


KINDS = st.sampled_from([REQUEST, BEAMS, DRAWS, STREAMED, STREAMED_BEAMS])


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    visits=st.lists(
        st.tuples(KINDS, st.sampled_from([1, 16, 17, 40]), st.integers(0, 1), st.integers(0, 20)), min_size=4, max_size=9
    ),
    more=st.sampled_from([0, 5_000, 20_000]),
    encode_tokens=st.sampled_from([1, 512]),
    leaving=st.sets(st.integers(0, 8), max_size=2),
)
@pytest.mark.parametrize("name", ["pytorch", "native"])
def test_whoever_comes_and_goes(
    name: str,
    visits: list[tuple[Request, int, int, int]],
    more: int,
    encode_tokens: int,
    leaving: set[int],
    build_student: Any,
) -> None:
    runners = [RUNNERS[name](build_student(architecture, "2-2-8").artifact) for architecture in ("bart", "mbart")]
    coming = [
        (replace(request, parameters=replace(request.parameters, max_new_tokens=tokens, min_new_tokens=0)), model, turn)
        for request, tokens, model, turn in visits
    ]
    budget = CacheBudget(max(worst(runners[model], request) for request, model, _ in coming) + more)
    told = Told(*(Engine(runner, EngineSettings(encode_tokens_per_step=encode_tokens), budget) for runner in runners))
    asked = {}
    for turn in range(25):
        for place, (request, model, arrives) in enumerate(coming):
            if arrives == turn:
                request_id = told.engines[model].submit(request)
                if place not in leaving:
                    asked[model, request_id] = request
            elif arrives + 3 == turn and place in leaving:
                # The one that came in its place among its engine's.
                earlier = sorted((each[2], number) for number, each in enumerate(coming) if each[1] == model)
                told.engines[model].cancel(earlier.index((arrives, place)))
        told.turn()
        assert budget.claimed <= budget.max_bytes
    told.all()
    event(f"set back {told.set_back}")
    left = told.outcomes.keys() - asked.keys()
    for key in left:
        # Ended before it could leave.
        del told.outcomes[key]
    check(told, asked, runners)


def test_who_came_last_waits_and_the_earlier_ones_lose_nothing(runner: PyTorchRunner) -> None:
    """Two have room for one and a half: the first one's steps are those it takes alone, the other begins again after it."""
    engine = Engine(runner, EngineSettings(max_cache_bytes=worst(runner, REQUEST) * 3 // 2))
    told = Told(engine)
    first, second = engine.submit(REQUEST), engine.submit(REQUEST)
    for _ in range(16):
        told.turn()
    assert (engine.stats().running_requests, engine.stats().batch_rows) == (2, 2)
    for _ in range(16, 50):
        told.turn()
    stats = engine.stats()
    assert told.outcomes.keys() == {(0, first)}
    assert (stats.queued_requests, stats.running_requests, stats.set_back_requests) == (1, 0, 1)
    told.all()
    outcomes = [told.outcomes[0, each] for each in (first, second)]
    assert all(isinstance(outcome, Result) for outcome in outcomes)
    assert outcomes[0].sequences == outcomes[1].sequences  # type: ignore[union-attr]
    assert engine.stats().set_back_requests == 1


def test_nobody_behind_one_that_was_set_back_overtakes_it(runner: PyTorchRunner) -> None:
    engine = Engine(runner, EngineSettings(max_cache_bytes=worst(runner, REQUEST) * 3 // 2))
    told = Told(engine)
    short = replace(REQUEST, parameters=replace(LONG, max_new_tokens=1, min_new_tokens=1))
    ids = [engine.submit(REQUEST), engine.submit(REQUEST)]
    while not engine.stats().set_back_requests:
        told.turn()
    ids.append(engine.submit(short))
    for _ in range(10):
        told.turn()
        assert engine.stats().queued_requests == 2
    told.all()
    assert list(told.outcomes) == [(0, ids[0]), (0, ids[2]), (0, ids[1])]


def test_one_engines_request_gives_way_to_anothers(build_student: Any) -> None:
    runners = [PyTorchRunner(Model(build_student(architecture, "2-2-8").artifact)) for architecture in ("bart", "mbart")]
    budget = CacheBudget(worst(runners[0], REQUEST) * 4 // 3)
    first, other = (Engine(runner, EngineSettings(), budget) for runner in runners)
    earlier = first.submit(REQUEST)
    first.step()
    other.submit(REQUEST)
    for _ in range(31):
        assert other.step() == first.step() == []
    # The first one has 32 positions, and no room for one more until the other has stepped.
    assert first.step() == []
    assert (first.decoded_rows, other.stats().running_requests) == (0, 1)
    other.step()
    stats = other.stats()
    assert (stats.queued_requests, stats.running_requests, stats.cache_bytes, stats.set_back_requests) == (1, 0, 0, 1)
    ends = [end for _ in range(18) for end in first.step()]
    assert [end.request_id for end in ends] == [earlier]
    other.step()
    assert other.stats().running_requests == 1


def test_what_is_being_encoded_gives_way_too(build_student: Any) -> None:
    """In pages of 16 positions: two that run have 2, a third has 2, a source of 41 tokens has 4. While it is encoded, the
    first two take two more each, of which one has no room."""
    runners = [PyTorchRunner(Model(build_student(architecture, "2-2-8").artifact)) for architecture in ("bart", "mbart")]
    long = replace(REQUEST, source_ids=(*range(5, 45), 2))
    budget = CacheBudget(13 * 16 * 320)
    first, other = (Engine(runner, EngineSettings(encode_tokens_per_step=24), budget) for runner in runners)
    told = Told(first, other)
    asked = {(0, first.submit(REQUEST)): REQUEST, (0, first.submit(STREAMED)): STREAMED}
    told.turn(0)
    asked[1, other.submit(REQUEST)] = REQUEST
    told.turn(1)
    asked[1, other.submit(long)] = long
    told.turn(1)
    assert other.stats().running_requests == 2
    told.turn(*(0,) * 32)
    assert (first.decoded_rows, other.stats().running_requests) == (0, 2)
    told.turn(1)
    assert (other.stats().queued_requests, other.stats().running_requests, other.decoded_rows) == (1, 1, 1)
    told.all()
    check(told, asked, runners)


def test_who_leaves_after_being_set_back_is_gone(runner: PyTorchRunner) -> None:
    engine = Engine(runner, EngineSettings(max_cache_bytes=worst(runner, REQUEST) * 3 // 2))
    told = Told(engine)
    first, second = engine.submit(REQUEST), engine.submit(REQUEST)
    while not engine.stats().set_back_requests:
        told.turn()
    engine.cancel(second)
    assert engine.stats().queued_requests == 0
    told.all()
    assert told.outcomes.keys() == {(0, first)}
    assert engine.stats().cache_bytes == 0


def test_a_fault_ends_who_runs_and_not_who_was_set_back(runner: PyTorchRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object) -> Any:
        raise MemoryError

    engine = Engine(runner, EngineSettings(max_cache_bytes=worst(runner, REQUEST) * 3 // 2))
    told = Told(engine)
    first, second = engine.submit(REQUEST), engine.submit(REQUEST)
    while not engine.stats().set_back_requests:
        told.turn()
    with monkeypatch.context() as patched:
        patched.setattr(runner, "decode", faulty)
        told.turn()
    assert isinstance(told.outcomes[0, first], GenerationFailed)
    assert engine.stats().cache_bytes == 0
    told.all()
    assert isinstance(told.outcomes[0, second], Result)


def test_an_engine_that_is_closed_leaves_the_budget_to_the_others(build_student: Any) -> None:
    runners = [PyTorchRunner(Model(build_student(architecture, "2-2-8").artifact)) for architecture in ("bart", "mbart")]
    budget = CacheBudget(worst(runners[0], REQUEST))
    closed, other = (Engine(runner, EngineSettings(), budget) for runner in runners)
    for _ in range(3):
        closed.submit(REQUEST)
    closed.step()
    other.submit(REQUEST)
    other.step()
    closed.close()
    assert (budget.claimed, closed.has_work) == (0, False)
    (end,) = [each for _ in range(51) for each in other.step()]
    assert isinstance(end, Finished)
    assert isinstance(end.outcome, Result)


def test_one_that_could_never_run_is_refused_by_what_it_may_take_in_the_end(runner: PyTorchRunner) -> None:
    most = worst(runner, BEAMS)
    engine = Engine(runner, EngineSettings(), CacheBudget(most - 1))
    with pytest.raises(InvalidRequest, match=f"may take {most} bytes, max_cache_bytes is {most - 1}"):
        engine.submit(BEAMS)
