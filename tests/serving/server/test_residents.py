"""Models in and out of memory, with engines that answer when they are told to; and real ones."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from serving.engine.async_engine import AsyncEngine
from serving.engine.engine import EngineStats
from serving.engine.errors import EngineClosed, EngineNotOpened
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.settings import EngineSettings
from serving.observability.logs import LogSettings
from serving.server import residents as module
from serving.server.engines.process import EngineProcess
from serving.server.residents import Residence, Resident, Residents
from serving.service.models import ModelError

PATIENCE = 60
REQUEST = Request((1,), GenerationParameters(1, 0, (2,)))
RESULT = Result((), 0.0, 0.0, 0.0, 0.0)


MADE: list[Resident] = []
"""The models of the test in progress."""


class FakeEngine:
    """Answers while `open` is set."""

    loaded = True

    def __init__(self, gate: asyncio.Event) -> None:
        self.gate = gate
        self.fault: str | None = None

    async def generate(self, request: Request) -> Result:
        await self.gate.wait()
        assert self.fault is None, "unloaded while it was used"
        return RESULT

    async def stream(self, request: Request) -> AsyncGenerator[tuple[int, ...] | Result]:
        yield (1,)
        await self.gate.wait()
        assert self.fault is None, "unloaded while it was used"
        yield RESULT

    def stats(self) -> EngineStats:
        return EngineStats(queued_requests=3)

    def close(self) -> None:
        self.fault = "closed"


class Rig:
    """Models of one replica, in an event loop."""

    def __init__(self, **residence: Any) -> None:
        self.residents = Residents(Residence(**residence))
        self.gate = asyncio.Event()
        self.gate.set()
        self.opened: list[str] = []
        self.engines: list[FakeEngine] = []
        self.told: list[tuple[str, bool]] = []
        self.faults: dict[str, Exception] = {}

    def model(self, name: str, size: int = 10) -> Resident:
        def opened() -> FakeEngine:
            self.opened.append(name)
            if name in self.faults:
                raise self.faults[name]
            self.engines.append(FakeEngine(self.gate))
            return self.engines[-1]

        def told(seconds: float | None) -> None:
            self.told.append((name, seconds is not None))

        MADE.append(Resident(name, size, opened, self.residents, told))
        return MADE[-1]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


def run(work: Callable[[], Any]) -> None:
    """As asyncio.run, which ends tasks but no timers: one that is due while it ends would begin a task that nobody runs."""

    async def whole() -> None:
        MADE.clear()
        await work()
        for resident in MADE:
            if resident.timer is not None:
                resident.timer.cancel()

    asyncio.run(whole())


def test_a_model_is_loaded_once_at_its_first_use() -> None:
    async def work() -> None:
        rig = Rig(at_start=False)
        model = rig.model("a")
        assert (model.loaded, model.fault, model.stats()) == (False, None, EngineStats())
        assert await asyncio.gather(*(model.generate(REQUEST) for _ in range(5))) == [RESULT] * 5
        async with aclosing(model.stream(REQUEST)) as news:
            assert [each async for each in news] == [(1,), RESULT]
        assert rig.opened == ["a"]
        assert rig.told == [("a", True)]
        assert model.stats().queued_requests == 3

    run(work)


def test_one_that_nobody_uses_is_unloaded_and_loaded_again() -> None:
    async def work() -> None:
        rig = Rig(unload_after=0.01)
        model = rig.model("a")
        for times in (1, 2):
            await model.generate(REQUEST)
            await until(lambda: not model.loaded and model.leaving is None)
            assert rig.told == [("a", True), ("a", False)] * times
            assert all(engine.fault for engine in rig.engines)

    run(work)


def test_one_that_was_loaded_at_the_start_is_unloaded_too() -> None:
    async def work() -> None:
        rig = Rig(unload_after=0.01)
        model = rig.model("a")
        model.load()
        rig.residents.watch_unused()
        await until(lambda: not model.loaded)

    run(work)


def test_a_model_is_not_unloaded_while_it_answers() -> None:
    async def work() -> None:
        rig = Rig(unload_after=0.001)
        model = rig.model("a")
        rig.gate.clear()
        asked = asyncio.create_task(model.generate(REQUEST))
        await until(lambda: model.loaded)
        await asyncio.sleep(0.02)
        assert model.loaded
        rig.gate.set()
        assert await asked == RESULT

    run(work)


def test_for_another_one_that_is_unused_the_longest_makes_room() -> None:
    async def work() -> None:
        rig = Rig(max_model_bytes=25)
        models = {name: rig.model(name) for name in "abc"}
        for name in "abab":
            await models[name].generate(REQUEST)
        await models["a"].generate(REQUEST)
        await models["c"].generate(REQUEST)
        assert {name for name, model in models.items() if model.loaded} == {"a", "c"}
        assert rig.opened == ["a", "b", "c"]

    run(work)


def test_requests_wait_until_those_of_another_model_have_ended() -> None:
    async def work() -> None:
        rig = Rig(max_model_bytes=10)
        one, other = rig.model("one"), rig.model("other")
        rig.gate.clear()
        first = asyncio.create_task(one.generate(REQUEST))
        await until(lambda: one.loaded)
        second = asyncio.create_task(other.generate(REQUEST))
        await until(lambda: one.leaving is not None)
        # Who comes now is in line behind: a model that is always asked something leaves nevertheless.
        third = asyncio.create_task(one.generate(REQUEST))
        await asyncio.sleep(0)
        rig.gate.set()
        assert await asyncio.gather(first, second, third) == [RESULT] * 3
        assert rig.opened == ["one", "other", "one"]
        assert len([engine for engine in rig.engines if not engine.fault]) == 1

    run(work)


def test_of_many_models_that_do_not_fit_all_requests_are_answered() -> None:
    async def work() -> None:
        rig = Rig(max_model_bytes=30)
        models = [rig.model(str(place)) for place in range(10)]
        asked = [models[place * 7 % 10].generate(REQUEST) for place in range(200)]
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*asked) == [RESULT] * 200
        assert sum(model.loaded for model in models) <= 3

    run(work)


def test_a_model_that_cannot_be_loaded_tells_its_requests_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        rig = Rig(at_start=False)
        broken, fine = rig.model("broken"), rig.model("fine")
        rig.faults["broken"] = EngineNotOpened("/secret/place: no such file")
        outcomes = await asyncio.gather(*(broken.generate(REQUEST) for _ in range(3)), return_exceptions=True)
        for outcome in [*outcomes, *await asyncio.gather(broken.generate(REQUEST), return_exceptions=True)]:
            assert isinstance(outcome, EngineNotOpened)
            assert str(outcome).startswith("broken could not be loaded")
            assert "secret" not in str(outcome)
        assert rig.opened == ["broken"]  # A little later is not at once.
        assert broken.fault is None  # The replica goes on.
        assert await fine.generate(REQUEST) == RESULT
        del rig.faults["broken"]
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
        assert await broken.generate(REQUEST) == RESULT

    run(work)
    assert "/secret/place" in caplog.text


def test_one_whose_only_request_left_while_it_was_loaded_is_unloaded_too() -> None:
    async def work() -> None:
        rig = Rig(at_start=False, unload_after=0.01)
        going_on, opened = threading.Event(), FakeEngine(rig.gate)
        told: list[bool] = []
        model = Resident(
            "a",
            10,
            lambda: opened if going_on.wait(PATIENCE) else FakeEngine(rig.gate),
            rig.residents,
            lambda seconds: told.append(seconds is not None),
        )
        asked = asyncio.create_task(model.generate(REQUEST))
        await until(lambda: model.loading is not None)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await until(lambda: model.timer is None)  # What was to unload it finds nothing to unload yet.
        going_on.set()
        await until(lambda: told == [True, False])
        assert opened.fault

    run(work)


def test_a_load_goes_on_when_who_asked_for_it_leaves() -> None:
    async def work() -> None:
        rig = Rig(at_start=False)
        going_on = threading.Event()
        engine = FakeEngine(rig.gate)

        def opened() -> FakeEngine:
            assert going_on.wait(PATIENCE)
            return engine

        model = Resident("a", 10, opened, rig.residents)
        asked = asyncio.create_task(model.generate(REQUEST))
        await until(lambda: model.loading is not None)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        again = asyncio.create_task(model.generate(REQUEST))
        going_on.set()
        assert await again == RESULT

    run(work)


def test_one_that_was_closed_is_not_loaded_any_more() -> None:
    async def work() -> None:
        rig = Rig(max_model_bytes=10)
        model, other = rig.model("a"), rig.model("b")
        await model.generate(REQUEST)
        await asyncio.to_thread(model.close)
        assert model.fault
        with pytest.raises(EngineClosed):
            await model.generate(REQUEST)
        assert rig.residents.fits(10)
        assert await other.generate(REQUEST) == RESULT

    run(work)


def test_one_that_could_never_be_loaded_is_refused() -> None:
    Residence(max_model_bytes=10).check("a", 10)
    Residence().check("a", 1 << 60)
    with pytest.raises(ModelError, match="a has 11 bytes, above max_model_bytes = 10"):
        Residence(max_model_bytes=10).check("a", 11)


@pytest.fixture(scope="module")
def process() -> Iterator[EngineProcess]:
    process = EngineProcess(1, LogSettings())
    yield process
    process.close()


def test_real_models_take_turns_in_memory(process: EngineProcess, artifacts: dict[str, Path], tmp_path: Path) -> None:
    """One fits at a time; one of them is damaged after it was checked."""
    parameters = GenerationParameters(max_new_tokens=6, decoder_start_token_id=2, eos_token_ids=(2,), min_new_tokens=6)
    requests = [Request((5 + place, 6, 7, 2), parameters) for place in range(3)]
    damaged = Path(shutil.copytree(artifacts["answerer"], tmp_path / "damaged"))
    folders = {"summarizer": artifacts["summarizer"], "translator": artifacts["translator"], "damaged": damaged}

    def resident(name: str, residents: Residents) -> Resident:
        def opened() -> AsyncEngine:
            return AsyncEngine(process.open(folders[name], EngineSettings(), "auto"))

        return Resident(name, 10, opened, residents)

    async def answers(**residence: Any) -> list[Any]:
        residents = Residents(Residence(**residence))
        models = {name: resident(name, residents) for name in folders}
        asked = [models[name].generate(request) for request in requests for name in folders]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(model.loaded for model in models.values()) <= (1 if residence else 3)
        for model in models.values():
            await asyncio.to_thread(model.close)
        return [outcome.sequences if isinstance(outcome, Result) else str(outcome) for outcome in outcomes]

    with (damaged / "model.safetensors").open("ab") as file:
        file.write(b"more")
    expected = asyncio.run(answers())
    assert asyncio.run(answers(max_model_bytes=10)) == expected
    assert [each for each in expected if isinstance(each, str)] == [
        "damaged could not be loaded, which the server's log explains; repeat this later"
    ] * len(requests)
