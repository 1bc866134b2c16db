"""One loop for several engines: who steps when, how much is encoded between, and faults and steps that hang."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.cache_budget import CacheBudget
from serving.engine.engine import Engine, Event, Finished
from serving.engine.errors import EngineClosed, GenerationFailed
from serving.engine.loop import EngineLoop, LoopPort
from serving.engine.port import Step
from serving.engine.pytorch.model import Model
from serving.engine.pytorch.runner import PyTorchRunner
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.runner import Candidates, Source, Wanted
from serving.engine.settings import EngineSettings
from tests.serving.engine.idle_runner import LAYERS, IdleRunner, Visit

PATIENCE = 60
REQUEST = Request(
    (5, 6, 7, 2), GenerationParameters(max_new_tokens=8, min_new_tokens=8, decoder_start_token_id=2, eos_token_ids=(2,))
)
SHORT, LONG = Visit(source_tokens=16, new_tokens=4), Visit(source_tokens=960, new_tokens=20)
ENDLESS = Visit(source_tokens=16, new_tokens=1000)

Log = list[tuple[str, str, int]]
"""Whose runner was asked for what, and of how much: layers times tokens, or rows that go on."""


class Logged(IdleRunner):
    def __init__(self, name: str, log: Log) -> None:
        super().__init__()
        self._name = name
        self._log = log
        self._tokens = 0

    def begin(self, sources: Sequence[Source]) -> None:
        super().begin(sources)
        self._tokens = len(sources) * max(-(-len(source.token_ids) // 16) * 16 for source in sources)

    def encode(self, layers: int) -> bool:
        self._log.append((self._name, "encode", layers * self._tokens))
        return super().encode(layers)

    def select(self, parents: Sequence[Sequence[int]]) -> None:
        super().select(parents)
        self._log.append((self._name, "decode", self.rows))


class Gate(IdleRunner):
    """Holds the loop until it is opened, or fails then."""

    def __init__(self, fault: Exception | None = None) -> None:
        super().__init__()
        self.opened, self.reached = threading.Event(), threading.Event()
        self._fault = fault

    def begin(self, sources: Sequence[Source]) -> None:
        self.reached.set()
        assert self.opened.wait(PATIENCE)
        if self._fault is not None:
            raise self._fault
        super().begin(sources)

    def clear(self) -> None:
        if self._fault is not None:
            raise self._fault


class Asked:
    """An engine of a loop, and what it told."""

    def __init__(self, loop: EngineLoop, engine: Engine, name: str = "model") -> None:
        self.events: list[Event] = []
        self.steps: list[Step] = []
        self.ended = threading.Event()
        self._idle = threading.Condition()
        self._open = 0
        self._ids = itertools.count()
        self.port: LoopPort = loop.add(engine, name)
        self.port.start(self._told, self.ended.set)

    def ask(self, *requests: Request) -> None:
        with self._idle:
            self._open += len(requests)
        for request in requests:
            self.port.submit(next(self._ids), request)

    def wait(self) -> list[Result | Exception]:
        """Until all have ended; their outcomes in the order in which they were asked."""
        with self._idle:
            assert self._idle.wait_for(lambda: not self._open, PATIENCE)
        ends = {event.request_id: event.outcome for event in self.events if isinstance(event, Finished)}
        return [ends[request_id] for request_id in sorted(ends)]

    def _told(self, events: Sequence[Event], steps: Sequence[Step]) -> None:
        with self._idle:
            self.events += events
            self.steps += steps
            self._open -= sum(isinstance(event, Finished) for event in events)
            self._idle.notify_all()


@pytest.fixture
def loop() -> Iterator[EngineLoop]:
    loop = EngineLoop()
    yield loop
    loop.close()


def logged(work: Mapping[str, Sequence[Visit]], **settings: int) -> Log:
    """What engines of these names are asked for while they do this work, all of which is there from the start, in visits of
    one step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.engine.loop.VISIT_SECONDS", 0.0)
        return _logged(work, **settings)


def _logged(work: Mapping[str, Sequence[Visit]], **settings: int) -> Log:
    loop, log, gate = EngineLoop(), Log(), Gate()
    first = Asked(loop, Engine(gate, EngineSettings()))
    first.ask(Visit(1, 1).request())
    assert gate.reached.wait(PATIENCE)
    engines = {name: Asked(loop, Engine(Logged(name, log), EngineSettings(**settings)), name) for name in work}
    for name, visits in work.items():
        engines[name].ask(*(visit.request() for visit in visits))
    gate.opened.set()
    for engine in engines.values():
        assert all(isinstance(outcome, Result) for outcome in engine.wait())
    loop.close()
    return log


def test_each_engine_answers_as_it_does_alone(loop: EngineLoop, build_student: Any, run_all: Any) -> None:
    runners = [lambda kind=kind: PyTorchRunner(Model(build_student(kind, "2-2-8").artifact)) for kind in ("bart", "mbart")]
    requests = [REQUEST, Request((9, 2), REQUEST.parameters), REQUEST]
    engines = [Asked(loop, Engine(build(), EngineSettings())) for build in runners]
    for request in requests:
        for engine in engines:
            engine.ask(request)
    for engine, build in zip(engines, runners, strict=True):
        alone = run_all(Engine(build(), EngineSettings()), requests)
        assert [each.sequences for each in engine.wait()] == [each.sequences for each in alone]
        assert sum(step.rows for step in engine.steps) == 3 * 8


def test_a_long_queue_starves_nobody() -> None:
    """In each turn each of them decodes once, however much is queued elsewhere."""
    log = logged({"crowded": [LONG] * 200, "quiet": [SHORT]}, max_batch_rows=4)
    decodes = "".join(name[0] for name, what, _ in log if what == "decode")
    # The first is done after its four tokens, one in each of so many turns.
    assert decodes.replace("c", "").count("q") == 4
    assert decodes.rindex("q") <= 2 * 4 + LAYERS


def visits(log: Log) -> list[tuple[str, list[int]]]:
    """Whose steps follow each other, and the rows that each left."""
    decodes = [(name, rows) for name, what, rows in log if what == "decode"]
    return [(name, [rows for _, rows in steps]) for name, steps in itertools.groupby(decodes, lambda each: each[0])]


def test_an_engine_takes_what_steps_it_can_in_a_visit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here all: the visits are endless. But those who wait for a place get theirs when a quarter of the rows is free."""
    monkeypatch.setattr("serving.engine.loop.VISIT_SECONDS", float("inf"))
    assert visits(_logged({"a": [LONG], "b": [LONG]})) == [("a", [1] * 19 + [0]), ("b", [1] * 19 + [0])]
    early, late = Visit(16, 2), Visit(16, 9)
    log = visits(_logged({"a": [early] + [late] * 8, "b": [SHORT]}, max_batch_rows=8))
    # One of eight is free until the others are, too.
    assert log[0] == ("a", [8] + [7] * 7 + [0])
    log = visits(_logged({"a": [early] * 2 + [late] * 8, "b": [SHORT]}, max_batch_rows=8))
    assert log[0] == ("a", [8, 6])


def test_who_encodes_first_takes_turns() -> None:
    """A slice of a long source fills a turn; nobody gets a second one before everybody had one."""
    log = logged({name: [LONG] * 7 for name in "abc"}, encode_tokens_per_step=1)
    # The first one's are encoded at once, as many as fit, for nobody waits yet.
    first, *slices = [name for name, what, _ in log if what == "encode"]
    assert first == "a"
    for place in range(0, 3 * LAYERS, 3):
        assert sorted(slices[place : place + 3]) == ["a", "b", "c"]


VISITS = st.lists(st.builds(Visit, st.sampled_from([1, 16, 100, 1000]), st.sampled_from([1, 4, 20])), min_size=1, max_size=6)


@given(
    work=st.dictionaries(st.sampled_from("abcd"), VISITS, min_size=1),
    budget=st.sampled_from([1, 64, 512, 4096]),
    rows=st.sampled_from([1, 3, 64]),
)
def test_rows_wait_for_no_more_encoding_than_the_budget_whoever_encodes(
    work: dict[str, list[Visit]], budget: int, rows: int
) -> None:
    log = logged(work, encode_tokens_per_step=budget, max_batch_rows=rows)
    for name in work:
        encoded: list[int] | None = None
        """Since its last step, where it has rows that wait for the next."""
        for who, what, amount in log:
            if what == "encode" and encoded is not None:
                encoded.append(amount)
            elif who == name and what == "decode":
                # One slice may be a single layer, however long its source.
                assert encoded is None or len(encoded) == 1 or sum(encoded) <= budget * LAYERS
                encoded = [] if amount else None


def test_a_turn_encodes_for_several_engines_within_the_budget() -> None:
    log = logged({name: [SHORT] * 3 for name in "abcd"}, encode_tokens_per_step=48, max_batch_rows=1)
    turns = [list(turn) for what, turn in itertools.groupby(log, lambda entry: entry[1]) if what == "encode"]
    assert max(map(len, turns)) == 3


def test_engines_without_work_are_not_looked_at(loop: EngineLoop) -> None:
    class Unasked(IdleRunner):
        @property
        def rows(self) -> int:
            raise AssertionError("it has no work")

    others = [Asked(loop, Engine(Unasked(), EngineSettings())) for _ in range(50)]
    busy = Asked(loop, Engine(IdleRunner(), EngineSettings()))
    busy.ask(LONG.request())
    assert isinstance(busy.wait()[0], Result)
    assert not any(other.steps or other.port.fault for other in others)


def test_the_longest_stall_is_of_all_models(loop: EngineLoop) -> None:
    """Rows of one wait while another encodes its second request; it has none itself then."""
    gate = Gate()
    Asked(loop, Engine(gate, EngineSettings())).ask(SHORT.request())
    assert gate.reached.wait(PATIENCE)
    waiting = Asked(loop, Engine(IdleRunner(), EngineSettings()))
    encoding = Asked(loop, Engine(IdleRunner(), EngineSettings(max_batch_rows=1)))
    waiting.ask(ENDLESS.request())
    encoding.ask(SHORT.request(), SHORT.request())
    gate.opened.set()
    encoding.wait()
    assert waiting.port.stats().longest_stall_seconds > 0
    assert encoding.port.stats().longest_stall_seconds == 0


def test_a_fault_in_one_engine_ends_its_requests_only(loop: EngineLoop) -> None:
    class Faulty(IdleRunner):
        def decode(self, tokens: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
            raise MemoryError

        def clear(self) -> None:
            self._rows = []

    faulty, sound = (Asked(loop, Engine(runner, EngineSettings())) for runner in (Faulty(), IdleRunner()))
    for _ in range(2):
        faulty.ask(SHORT.request())
        sound.ask(LONG.request())
    assert all(isinstance(outcome, GenerationFailed) for outcome in faulty.wait())
    assert all(isinstance(outcome, Result) for outcome in sound.wait())
    assert faulty.port.fault is sound.port.fault is None


def test_an_engine_that_cannot_even_fail_ends_alone(loop: EngineLoop, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(fault=ZeroDivisionError())
    broken, sound = (
        Asked(loop, Engine(gate, EngineSettings()), "broken"),
        Asked(loop, Engine(IdleRunner(), EngineSettings())),
    )
    broken.ask(SHORT.request())
    gate.opened.set()
    assert broken.ended.wait(PATIENCE)
    assert broken.port.fault == "its engine has ended by a fault: ZeroDivisionError"
    assert "broken: its engine has ended by a fault" in caplog.text
    with pytest.raises(EngineClosed, match="ZeroDivisionError"):
        broken.ask(SHORT.request())
    sound.ask(SHORT.request())
    assert isinstance(sound.wait()[0], Result)


def test_engines_come_and_go_while_others_work(loop: EngineLoop) -> None:
    endless = Asked(loop, Engine(IdleRunner(), EngineSettings()))
    endless.ask(*[ENDLESS.request()] * 200)
    for _ in range(5):
        passing = Asked(loop, Engine(IdleRunner(), EngineSettings()))
        passing.ask(SHORT.request())
        assert isinstance(passing.wait()[0], Result)
        passing.ask(ENDLESS.request())
        passing.port.close()
        passing.port.close()
        assert passing.ended.is_set()
        with pytest.raises(EngineClosed):
            passing.ask(SHORT.request())
    assert endless.port.fault is None


def test_an_engine_that_ends_leaves_the_memory_of_its_caches_to_the_others(loop: EngineLoop) -> None:
    budget = CacheBudget(ENDLESS.source_tokens + ENDLESS.new_tokens)
    holding, waiting = (Asked(loop, Engine(IdleRunner(), EngineSettings(), budget)) for _ in range(2))
    holding.ask(ENDLESS.request())
    waiting.ask(Visit(source_tokens=1000, new_tokens=10).request())
    holding.port.close()
    assert isinstance(waiting.wait()[0], Result)
    assert budget.claimed == 0


def test_a_closed_engine_is_kept_nowhere(loop: EngineLoop) -> None:
    passing = Asked(loop, Engine(IdleRunner(), EngineSettings()))
    passing.ask(SHORT.request())
    passing.wait()
    passing.port.close()
    kept = weakref.ref(passing.port.engine)
    del passing
    gc.collect()
    assert kept() is None


def test_a_closed_loop_takes_no_engine() -> None:
    loop = EngineLoop()
    engine = Asked(loop, Engine(IdleRunner(), EngineSettings()))
    engine.ask(ENDLESS.request())
    loop.close()
    loop.close()
    assert engine.ended.is_set()
    with pytest.raises(EngineClosed):
        Asked(loop, Engine(IdleRunner(), EngineSettings()))


def test_a_step_that_hangs_ends_every_engine_and_says_whose_it_is(caplog: pytest.LogCaptureFixture) -> None:
    loop, gate = EngineLoop(max_step_seconds=0.2), Gate()
    hanging = Asked(loop, Engine(gate, EngineSettings()), "hanging")
    other = Asked(loop, Engine(IdleRunner(), EngineSettings()), "other")
    hanging.ask(SHORT.request())
    for engine in (hanging, other):
        assert engine.ended.wait(PATIENCE)
        assert engine.port.fault is not None
        assert engine.port.fault.startswith("a step of hanging has taken ")
        with pytest.raises(EngineClosed, match="a step of hanging"):
            engine.ask(SHORT.request())
    assert "nothing in this process will be answered any more" in caplog.text
    # Neither waits for the step.
    hanging.port.close()
    loop.close()
    gate.opened.set()


def test_whoever_is_told_of_a_step_that_hangs_decides() -> None:
    told: list[tuple[str, float]] = []
    heard = threading.Event()

    def overdue(port: LoopPort, seconds: float) -> None:
        told.append((port.name, seconds))
        heard.set()

    loop, gate = EngineLoop(0.2, overdue), Gate()
    hanging = Asked(loop, Engine(gate, EngineSettings()), "hanging")
    hanging.ask(SHORT.request())
    assert heard.wait(PATIENCE)
    ((name, seconds),) = told
    assert name == "hanging"
    assert seconds > 0.2
    assert hanging.port.fault is None
    gate.opened.set()
    assert isinstance(hanging.wait()[0], Result)
    loop.close()
