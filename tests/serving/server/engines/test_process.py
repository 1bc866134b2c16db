"""Engines in a process of their own, against the same engine in this one."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from serving.engine.async_engine import AsyncEngine
from serving.engine.engine import Finished, load_engine
from serving.engine.errors import EngineClosed, EngineFull, EngineNotOpened, InvalidRequest, SourceTooLong
from serving.engine.port import Step
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.settings import EngineSettings
from serving.observability import processes
from serving.observability.logs import LogSettings
from serving.server.engines import process as watched
from serving.server.engines.process import EngineProcess
from tests.serving.server import hanging

PARAMETERS = GenerationParameters(max_new_tokens=8, decoder_start_token_id=2, eos_token_ids=(2,), min_new_tokens=8)
REQUEST = Request((5, 6, 7, 2), PARAMETERS)
BEAMS = replace(REQUEST, parameters=replace(PARAMETERS, num_beams=3, return_scores=True))
ENDLESS = replace(REQUEST, parameters=replace(PARAMETERS, max_new_tokens=63, min_new_tokens=63))
SECONDS = 60


@pytest.fixture(scope="module")
def process() -> Iterator[EngineProcess]:
    process = EngineProcess(1, LogSettings())
    yield process
    process.close()


@pytest.fixture
def engine(process: EngineProcess, artifacts: dict[str, Path]) -> Iterator[AsyncEngine]:
    engine = AsyncEngine(process.open(artifacts["summarizer"], EngineSettings(), "auto"))
    yield engine
    engine.close()


def wait_until_idle(engine: AsyncEngine) -> None:
    deadline = time.monotonic() + SECONDS
    while (stats := engine.stats()).running_requests or stats.queued_requests or stats.cache_bytes:
        assert time.monotonic() < deadline, stats
        time.sleep(0.01)


def test_results_are_those_of_an_engine_in_this_process(engine: AsyncEngine, artifacts: dict[str, Path]) -> None:
    requests = [replace(REQUEST, source_ids=(5 + place, 2)) for place in range(6)] + [BEAMS]
    local = load_engine(artifacts["summarizer"], EngineSettings())
    expected: dict[int, Result] = {}
    for request in requests:
        local.submit(request)
    while local.has_work:
        expected |= {event.request_id: event.outcome for event in local.step() if isinstance(event, Finished)}

    async def together() -> list[Result]:
        return await asyncio.gather(*map(engine.generate, requests))

    results = asyncio.run(together())
    assert [each.sequences for each in results] == [expected[place].sequences for place in range(len(requests))]


def test_a_stream_is_its_result(engine: AsyncEngine) -> None:
    async def streamed() -> list[tuple[int, ...] | Result]:
        return [item async for item in engine.stream(BEAMS)]

    *parts, result = asyncio.run(streamed())
    assert isinstance(result, Result)
    assert sum(parts, ()) == result.sequences[0].token_ids


@pytest.mark.parametrize(
    ("request_", "fault"),
    [(replace(REQUEST, source_ids=(5, -1)), InvalidRequest), (replace(REQUEST, source_ids=(5,) * 65), SourceTooLong)],
)
def test_what_is_wrong_is_raised_as_in_this_process(engine: AsyncEngine, request_: Request, fault: type[Exception]) -> None:
    with pytest.raises(fault):
        asyncio.run(engine.generate(request_))


def test_beyond_the_queue_requests_are_refused(process: EngineProcess, artifacts: dict[str, Path]) -> None:
    settings = EngineSettings(max_batch_rows=1, max_queued_requests=2)
    engine = AsyncEngine(process.open(artifacts["summarizer"], settings, "auto"))

    async def many() -> list[Result | BaseException]:
        return await asyncio.gather(*(engine.generate(ENDLESS) for _ in range(30)), return_exceptions=True)

    outcomes = asyncio.run(many())
    assert {type(outcome) for outcome in outcomes} == {Result, EngineFull}
    engine.close()


def test_cancelled_requests_are_dropped(process: EngineProcess, artifacts: dict[str, Path]) -> None:
    steps: list[Step] = []
    settings = EngineSettings(max_batch_rows=1)
    engine = AsyncEngine(process.open(artifacts["summarizer"], settings, "auto"), steps.append)

    async def left() -> None:
        # While the process stands still none of them can be done before it is cancelled.
        os.kill(process.pid, signal.SIGSTOP)
        requests = [asyncio.create_task(engine.generate(ENDLESS)) for _ in range(50)]
        await asyncio.sleep(0)
        for request in requests:
            request.cancel()
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        os.kill(process.pid, signal.SIGCONT)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        await engine.generate(REQUEST)

    asyncio.run(left())
    wait_until_idle(engine)
    assert sum(step.rows for step in steps) < 50 * 63
    engine.close()


def test_the_observer_sees_every_step(process: EngineProcess, artifacts: dict[str, Path]) -> None:
    steps: list[Step] = []
    engine = AsyncEngine(process.open(artifacts["summarizer"], EngineSettings(), "auto"), steps.append)
    asyncio.run(engine.generate(REQUEST))
    assert [step.rows for step in steps] == [1] * 8
    engine.close()


def test_closing_one_engine_leaves_the_others(
    process: EngineProcess, artifacts: dict[str, Path], engine: AsyncEngine
) -> None:
    other = AsyncEngine(process.open(artifacts["answerer"], EngineSettings(), "auto"))
    other.close()
    other.close()
    assert other.fault == "the engine is closed"
    with pytest.raises(EngineClosed):
        asyncio.run(other.generate(REQUEST))
    assert engine.fault is None
    assert isinstance(asyncio.run(engine.generate(REQUEST)), Result)


def test_an_artifact_that_cannot_be_loaded_is_named(process: EngineProcess, tmp_path: Path) -> None:
    with pytest.raises(EngineNotOpened, match=str(tmp_path)):
        process.open(tmp_path, EngineSettings(), "auto")
    assert process.fault is None


def test_the_death_of_the_process_ends_its_requests(artifacts: dict[str, Path]) -> None:
    died = threading.Event()
    process = EngineProcess(1, LogSettings(), died.set)
    engine = AsyncEngine(process.open(artifacts["summarizer"], EngineSettings(max_batch_rows=1), "auto"))

    async def killed() -> list[Result | BaseException]:
        requests = [asyncio.create_task(engine.generate(ENDLESS)) for _ in range(100)]
        await asyncio.sleep(0)
        os.kill(process.pid, signal.SIGKILL)
        return await asyncio.gather(*requests, return_exceptions=True)

    outcomes = asyncio.run(killed())
    assert any(isinstance(outcome, EngineClosed) for outcome in outcomes)
    assert all(isinstance(outcome, Result | EngineClosed) for outcome in outcomes)
    assert died.wait(SECONDS)
    assert engine.fault == "the process of the engines has ended"
    with pytest.raises(EngineNotOpened):
        process.open(artifacts["summarizer"], EngineSettings(), "auto")


def test_nothing_is_refused_before_the_death_is_known(artifacts: dict[str, Path]) -> None:
    """A replica ends by it; a request that it had refused before would be lost, where another one could have answered."""
    known = threading.Event()

    def died() -> None:
        time.sleep(0.2)
        known.set()

    process = EngineProcess(1, LogSettings(), died)
    engine = process.open(artifacts["summarizer"], EngineSettings(), "auto")
    os.kill(process.pid, signal.SIGKILL)

    def submit_until_refused() -> None:
        for request_id in itertools.count():
            engine.submit(request_id, REQUEST)

    with pytest.raises(EngineClosed):
        submit_until_refused()
    assert known.is_set()


def test_closing_is_no_death(artifacts: dict[str, Path]) -> None:
    died = threading.Event()
    process = EngineProcess(1, LogSettings(), died.set)
    process.close()
    process.close()
    assert process.fault == "the process of the engines has ended"
    assert not died.is_set()


def test_a_step_that_hangs_is_the_end_of_the_process(
    artifacts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so first, of all its engines, and whoever waits does so until its end."""
    monkeypatch.setenv("PYTHONPATH", hanging.environment(tmp_path, "computing")["PYTHONPATH"])
    monkeypatch.setattr(watched, "SAID_SECONDS", 0.5)
    died = threading.Event()
    process = EngineProcess(1, LogSettings(), died.set, max_step_seconds=2.0)
    ports = [process.open(artifacts[name], EngineSettings(), "auto") for name in ("summarizer", "answerer")]
    summarizer, answerer = map(AsyncEngine, ports)
    hanging.hang(tmp_path)

    async def hung() -> BaseException:
        request = asyncio.create_task(summarizer.generate(REQUEST))
        while summarizer.fault is None:
            await asyncio.sleep(0.01)
        assert summarizer.fault == answerer.fault
        assert summarizer.fault.startswith("a step of summarizer has taken ")
        (outcome,) = await asyncio.gather(request, return_exceptions=True)
        assert died.is_set()
        assert isinstance(outcome, BaseException)
        return outcome

    assert isinstance(asyncio.run(hung()), EngineClosed)
    assert "a step of summarizer has taken " in caplog.text
    assert "ended by itself" not in caplog.text
    with pytest.raises(EngineNotOpened, match="a step of summarizer"):
        process.open(artifacts["summarizer"], EngineSettings(), "auto")


def test_a_process_that_says_nothing_hangs(
    artifacts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing of it runs, it cannot say so itself."""
    monkeypatch.setenv("PYTHONPATH", hanging.environment(tmp_path, "holding Python")["PYTHONPATH"])
    monkeypatch.setattr(watched, "SAID_SECONDS", 0.5)
    monkeypatch.setattr(watched, "SILENT_SECONDS", 4.0)
    died = threading.Event()
    process = EngineProcess(1, LogSettings(), died.set)
    engine = AsyncEngine(process.open(artifacts["summarizer"], EngineSettings(), "auto"))
    hanging.hang(tmp_path)
    with pytest.raises(EngineClosed, match="has said nothing for "):
        asyncio.run(engine.generate(REQUEST))
    assert died.wait(SECONDS)


def test_a_process_that_was_stopped_does_not_hang(
    process: EngineProcess, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Semaphore(0)

    def is_stopped(pid: int) -> bool:
        looked.release()
        return processes.is_stopped(pid)

    monkeypatch.setattr(watched, "is_stopped", is_stopped)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(watched, "SILENT_SECONDS", 1.5)
            for _ in range(3):
                assert looked.acquire(timeout=SECONDS)
            assert process.fault is None
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert isinstance(asyncio.run(engine.generate(REQUEST)), Result)
