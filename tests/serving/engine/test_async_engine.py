from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from serving.engine.async_engine import AsyncEngine, StepObserver, _Listener
from serving.engine.engine import Engine, Event
from serving.engine.errors import EngineClosed, EngineFull, GenerationFailed, InvalidRequest
from serving.engine.loop import EngineLoop
from serving.engine.port import Step
from serving.engine.pytorch.model import Model
from serving.engine.pytorch.runner import PyTorchRunner
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.row_search import RowSearch
from serving.engine.settings import EngineSettings
from serving.engine.turn import Turn

PARAMETERS = GenerationParameters(max_new_tokens=8, min_new_tokens=8, decoder_start_token_id=2, eos_token_ids=(2,))
Start = Callable[..., AsyncEngine]

REQUEST = Request((5, 6, 7, 2), PARAMETERS)
BEAMS = replace(REQUEST, parameters=replace(PARAMETERS, num_beams=3))
LONG = replace(REQUEST, parameters=replace(PARAMETERS, max_new_tokens=60, min_new_tokens=60))


def idle(engine: AsyncEngine) -> bool:
    stats = engine.stats()
    return stats.queued_requests == stats.running_requests == stats.batch_rows == stats.cache_bytes == 0


@pytest.fixture
def start(build_student: Any) -> Iterator[Start]:
    """Start engines that are closed after the test."""
    loop = EngineLoop()

    def start(observer: StepObserver | None = None, **settings: int) -> AsyncEngine:
        runner = PyTorchRunner(Model(build_student("mbart", "2-2-8").artifact))
        return AsyncEngine(loop.add(Engine(runner, EngineSettings(**settings))), observer)

    yield start
    loop.close()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Steps wait until the gate is opened, so that nothing here depends on timing."""
    opened = threading.Event()
    encode = Engine.encode

    def gated(engine: Engine, turn: Turn) -> list[Event]:
        assert opened.wait(60)
        return encode(engine, turn)

    monkeypatch.setattr(Engine, "encode", gated)
    yield opened
    opened.set()


def test_concurrent_requests_get_their_own_results(start: Start, build_student: Any, run_all: Any) -> None:
    requests = [replace(REQUEST, source_ids=(5 + place, 2)) for place in range(6)] + [BEAMS]
    expected = run_all(Engine(PyTorchRunner(Model(build_student("mbart", "2-2-8").artifact)), EngineSettings()), requests)

    async def together() -> list[Result]:
        return await asyncio.gather(*(engine.generate(request) for request in requests))

    engine = start()
    results = asyncio.run(together())
    assert [each.sequences for each in results] == [each.sequences for each in expected]
    assert idle(engine)


def test_any_event_loop_may_be_used(start: Start) -> None:
    engine = start()
    first, second = (asyncio.run(engine.generate(REQUEST)) for _ in range(2))
    assert first.sequences == second.sequences


def test_the_observer_sees_each_step(start: Start) -> None:
    steps: list[Step] = []
    asyncio.run(start(steps.append).generate(BEAMS))
    assert [step.rows for step in steps] == [1] + [3] * 7
    assert all(step.seconds > 0 for step in steps)


def test_a_failing_observer_stops_nothing(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    def observer(step: Step) -> None:
        raise ZeroDivisionError

    assert len(asyncio.run(start(observer).generate(REQUEST)).sequences[0].token_ids) == 8
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

    assert len(asyncio.run(refused()).sequences[0].token_ids) == 8


def test_faults_reach_the_caller(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object) -> list[int]:
        raise ZeroDivisionError

    monkeypatch.setattr(RowSearch, "advance", faulty)
    engine = start()

    async def both() -> tuple[Result | BaseException, Result | BaseException]:
        return await asyncio.gather(engine.generate(REQUEST), engine.generate(BEAMS), return_exceptions=True)

    failed, result = asyncio.run(both())
    assert isinstance(result, Result)
    assert isinstance(failed, GenerationFailed)
    assert isinstance(failed.__cause__, ZeroDivisionError)
    assert len(result.sequences[0].token_ids) == 8


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
    assert idle(engine)


@pytest.mark.parametrize("request_", [REQUEST, BEAMS])
def test_a_stream_ends_with_the_result(start: Start, request_: Request) -> None:
    async def streamed(engine: AsyncEngine) -> list[Any]:
        return [item async for item in engine.stream(request_)]

    *tokens, result = asyncio.run(streamed(start()))
    assert isinstance(result, Result)
    assert all(tokens)
    assert sum(tokens, ()) == result.sequences[0].token_ids


def test_a_slow_consumer_gets_tokens_together(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads before the request has ended."""
    ended = threading.Event()
    end = _Listener.end

    def noticed(listener: _Listener, outcome: Result | Exception) -> None:
        end(listener, outcome)
        ended.set()

    monkeypatch.setattr(_Listener, "end", noticed)

    async def streamed() -> list[Any]:
        stream = start().stream(REQUEST)
        first = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        # Blocks the event loop, so that news is kept.
        assert ended.wait(60)
        return [await first, *[item async for item in stream]]

    items = asyncio.run(streamed())
    assert [len(item) for item in items[:-1]] == [8]
    assert items[0] == items[1].sequences[0].token_ids


def test_news_for_a_closed_event_loop_is_dropped() -> None:
    async def listener() -> _Listener:
        return _Listener()

    left = asyncio.run(listener())
    left.emit((5,))
    left.end(EngineClosed())


def test_leaving_a_stream_drops_the_request(start: Start) -> None:
    engine = start()

    async def left() -> None:
        async with contextlib.aclosing(engine.stream(LONG)) as stream:
            async for item in stream:
                assert item
                break
        await engine.generate(REQUEST)

    asyncio.run(left())
    assert idle(engine)
    assert not engine._listeners


def test_cancelling_the_task_of_a_stream_drops_the_request(start: Start, gate: threading.Event) -> None:
    engine = start()

    async def cancelled() -> None:
        doomed = asyncio.create_task(anext(engine.stream(LONG)))
        await asyncio.sleep(0)
        assert engine.stats().queued_requests == 1
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        gate.set()
        await engine.generate(REQUEST)

    asyncio.run(cancelled())
    assert idle(engine)


def test_a_stream_refuses_and_fails_as_generate_does(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = start()

    async def refused() -> None:
        several = replace(BEAMS, parameters=replace(BEAMS.parameters, num_return_sequences=2))
        with pytest.raises(InvalidRequest, match="stream is true with num_return_sequences = 2"):
            await anext(engine.stream(several))
        assert len((await engine.generate(replace(several, stream=True))).sequences[0].token_ids) == 8

        def faulty(*_: object) -> list[int]:
            raise ZeroDivisionError

        monkeypatch.setattr(RowSearch, "advance", faulty)
        with pytest.raises(GenerationFailed):
            await anext(engine.stream(REQUEST))

    asyncio.run(refused())
    assert idle(engine)


def test_closing_ends_what_is_open_and_refuses_what_comes(start: Start, gate: threading.Event) -> None:
    engine = start()

    async def closed() -> None:
        open_request = asyncio.create_task(engine.generate(LONG))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(engine.close))
        while not engine._port.leaving:
            await asyncio.sleep(0)
        gate.set()
        await closing
        with pytest.raises(EngineClosed, match="the engine is closed; the request was not finished"):
            await open_request
        with pytest.raises(EngineClosed, match="the engine is closed"):
            await engine.generate(REQUEST)

    assert engine.fault is None
    asyncio.run(closed())
    assert engine.fault == "the engine is closed"
    engine.close()
