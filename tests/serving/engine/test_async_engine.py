from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from serving.engine.async_engine import AsyncEngine, StepObserver
from serving.engine.engine import Engine, EngineStats, Finished
from serving.engine.errors import EngineClosed, EngineFull, GenerationFailed, InvalidRequest
from serving.engine.model import Model
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.search import GreedySearch
from serving.engine.settings import EngineSettings

PARAMETERS = GenerationParameters(max_new_tokens=8, min_new_tokens=8, decoder_start_token_id=2, eos_token_id=2)
Start = Callable[..., AsyncEngine]

REQUEST = Request((5, 6, 7, 2), PARAMETERS)
BEAMS = replace(REQUEST, parameters=replace(PARAMETERS, num_beams=3))
LONG = replace(REQUEST, parameters=replace(PARAMETERS, max_new_tokens=60, min_new_tokens=60))


@pytest.fixture
def start(build_student: Any) -> Iterator[Start]:
    """Start engines that are closed after the test."""
    started: list[AsyncEngine] = []

    def start(observer: StepObserver | None = None, **settings: int) -> AsyncEngine:
        model = Model(build_student("mbart", "2-2-8").artifact)
        started.append(AsyncEngine(Engine(model, EngineSettings(**settings)), observer))
        return started[-1]

    yield start
    for engine in started:
        engine.close()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Steps wait until the gate is opened, so that nothing here depends on timing."""
    opened = threading.Event()
    step = Engine.step

    def gated(engine: Engine) -> list[Finished]:
        assert opened.wait(60)
        return step(engine)

    monkeypatch.setattr(Engine, "step", gated)
    yield opened
    opened.set()


def test_concurrent_requests_get_their_own_results(start: Start, build_student: Any, run_all: Any) -> None:
    requests = [replace(REQUEST, source_ids=(5 + place, 2)) for place in range(6)] + [BEAMS]
    expected = run_all(Engine(Model(build_student("mbart", "2-2-8").artifact), EngineSettings()), requests)

    async def together() -> list[Result]:
        return await asyncio.gather(*(engine.generate(request) for request in requests))

    engine = start()
    results = asyncio.run(together())
    assert [(each.token_ids, each.score) for each in results] == [(each.token_ids, each.score) for each in expected]
    assert engine.stats() == EngineStats(0, 0, 0)


def test_any_event_loop_may_be_used(start: Start) -> None:
    engine = start()
    first, second = (asyncio.run(engine.generate(REQUEST)) for _ in range(2))
    assert first.token_ids == second.token_ids


def test_the_observer_sees_the_rows_of_each_step(start: Start) -> None:
    rows: list[int] = []
    asyncio.run(start(rows.append).generate(BEAMS))
    assert rows == [1] + [3] * 7


def test_a_failing_observer_stops_nothing(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    def observer(rows: int) -> None:
        raise ZeroDivisionError

    assert len(asyncio.run(start(observer).generate(REQUEST)).token_ids) == 8
    assert "the step observer failed" in caplog.text


def test_refusals_reach_the_caller(start: Start, gate: threading.Event) -> None:
    engine = start(max_queued_requests=1)

    async def refused() -> Result:
        with pytest.raises(InvalidRequest, match="source_ids"):
            await engine.generate(replace(REQUEST, source_ids=()))
        waiting = asyncio.create_task(engine.generate(REQUEST))
        await asyncio.sleep(0)
        assert engine.stats().queued_requests == 1
        with pytest.raises(EngineFull):
            await engine.generate(REQUEST)
        gate.set()
        return await waiting

    assert len(asyncio.run(refused()).token_ids) == 8


def test_faults_reach_the_caller(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object) -> list[int]:
        raise ZeroDivisionError

    monkeypatch.setattr(GreedySearch, "advance", faulty)
    engine = start()

    async def both() -> tuple[Result | BaseException, Result | BaseException]:
        return await asyncio.gather(engine.generate(REQUEST), engine.generate(BEAMS), return_exceptions=True)

    failed, result = asyncio.run(both())
    assert isinstance(result, Result)
    assert isinstance(failed, GenerationFailed)
    assert isinstance(failed.__cause__, ZeroDivisionError)
    assert len(result.token_ids) == 8


def test_cancelling_the_task_drops_the_request(start: Start, gate: threading.Event) -> None:
    engine = start()

    async def cancelled() -> None:
        doomed, other = asyncio.create_task(engine.generate(LONG)), asyncio.create_task(engine.generate(REQUEST))
        await asyncio.sleep(0)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        gate.set()
        await other

    asyncio.run(cancelled())
    assert engine.stats() == EngineStats(0, 0, 0)


def test_closing_ends_what_is_open_and_refuses_what_comes(start: Start, gate: threading.Event) -> None:
    engine = start()

    async def closed() -> None:
        open_request = asyncio.create_task(engine.generate(LONG))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(engine.close))
        while not engine._closed:
            await asyncio.sleep(0)
        gate.set()
        await closing
        with pytest.raises(EngineClosed, match="before the request was finished"):
            await open_request
        with pytest.raises(EngineClosed, match="the engine is closed"):
            await engine.generate(REQUEST)

    assert engine.alive
    asyncio.run(closed())
    assert not engine.alive
    engine.close()
