"""Windows that find the queue full after their request was admitted: over an engine of one's choice, and over a real one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serving.engine.async_engine import AsyncEngine
from serving.engine.engine import load_engine
from serving.engine.errors import EngineFull
from serving.engine.loop import EngineLoop
from serving.engine.settings import EngineSettings
from serving.observability.metrics import Metrics
from serving.service.errors import ErrorCode, ServiceError
from serving.service.line import Line
from serving.service.models import Models, ServedModel, check_model
from serving.service.requests import SummarizeRequest
from serving.service.service import Limits, Service


class Queue:
    """Has room for some; each is inside until it is let go."""

    def __init__(self, room: int = 1) -> None:
        self.room = room
        self.inside: dict[str, asyncio.Future[str]] = {}
        self.line = Line()

    async def enter(self, name: str) -> str:
        if len(self.inside) >= self.room:
            raise EngineFull("full")
        self.inside[name] = asyncio.get_running_loop().create_future()
        try:
            return await self.inside[name]
        finally:
            del self.inside[name]

    def ask(self, name: str, admitted: bool = True) -> asyncio.Task[str]:
        return asyncio.ensure_future(self.line.ask(lambda: self.enter(name), admitted))

    async def let_go(self, name: str) -> None:
        self.inside[name].set_result(f"{name} answered")
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def refused(queue: Queue) -> bool:
    """Whether a new one is, and at once."""
    new = queue.ask("new", admitted=False)
    await settle()
    return new.done() and isinstance(new.exception(), EngineFull)


def test_who_was_admitted_waits_in_order_and_who_comes_anew_is_refused() -> None:
    async def run() -> list[str]:
        queue = Queue()
        tasks = [queue.ask(name) for name in ("a", "b", "c")]
        await settle()
        for name in ("a", "b", "c"):
            assert list(queue.inside) == [name]
            if name != "c":
                # Also at the moment at which there is room: those in line were first.
                assert await refused(queue)
            await queue.let_go(name)
        return [task.result() for task in tasks]

    assert asyncio.run(run()) == ["a answered", "b answered", "c answered"]


def test_nobody_new_takes_the_room_that_others_wait_for() -> None:
    async def run() -> None:
        queue = Queue()
        first, waiting = queue.ask("a"), queue.ask("b")
        await settle()
        queue.room = 2
        assert await refused(queue)
        await queue.let_go("a")
        await queue.let_go("b")
        assert (await first, await waiting) == ("a answered", "b answered")

    asyncio.run(run())


def test_who_is_called_too_soon_keeps_the_place() -> None:
    async def run() -> None:
        queue = Queue()
        tasks = [queue.ask(name) for name in ("a", "b", "c")]
        await settle()
        # The room that `a` leaves shows at the engine's next step only.
        queue.room = 0
        await queue.let_go("a")
        assert not queue.inside
        queue.room = 1
        queue.line._call_next()
        await settle()
        assert list(queue.inside) == ["b"]
        await queue.let_go("b")
        await queue.let_go("c")
        await asyncio.gather(*tasks)

    asyncio.run(run())


@pytest.mark.parametrize("called", ["later", "before", "together"])
def test_who_leaves_the_line_holds_up_nobody(called: str) -> None:
    async def run() -> None:
        queue = Queue()
        tasks = [queue.ask(name) for name in ("a", "b", "c")]
        await settle()
        if called == "before":
            queue.inside["a"].set_result("")
            while len(queue.line._waiting) == 2:
                await asyncio.sleep(0)
        tasks[1].cancel()
        if called == "later":
            await settle()
        if called != "before":
            queue.line._call_next()
            await queue.let_go("a")
        await settle()
        assert list(queue.inside) == ["c"]
        await queue.let_go("c")
        assert tasks[1].cancelled()

    asyncio.run(run())


def test_a_fault_lets_the_next_one_in() -> None:
    async def run() -> None:
        queue = Queue()
        failing, waiting = queue.ask("a"), queue.ask("b")
        await settle()
        queue.inside["a"].set_exception(ValueError("broken"))
        with pytest.raises(ValueError, match="broken"):
            await failing
        await settle()
        await queue.let_go("b")
        assert await waiting == "b answered"

    asyncio.run(run())


DOCUMENT = "how are you. good morning world. " * 10
SHORT = "who wrote the book"
INPUTS = 3


@pytest.mark.parametrize("streamed", [False, True])
def test_a_long_document_that_was_admitted_is_answered_however_many_others_come(
    artifacts: dict[str, Path], streamed: bool
) -> None:
    """Its first windows fill the queue; whenever one of them leaves it, there are others to take the room."""
    folder = artifacts["summarizer"]
    checked = check_model("summarizer", folder, 2)
    settings = EngineSettings(max_batch_rows=2, max_queued_requests=INPUTS)
    loop = EngineLoop()
    engine = AsyncEngine(loop.add(load_engine(folder, settings, "pytorch")))
    served = Models([ServedModel(checked, checked.codec(), engine)], {"summarization": "summarizer"})
    service = Service(served, Limits(INPUTS, 10_000, 100, 2, 60.0), Metrics())

    async def ask(text: str, streamed: bool = False) -> Any:
        request = SummarizeRequest.model_validate(
            {"text": text, "truncation": "chunk", "parameters": {"max_new_tokens": 8, "num_beams": 2}}
        )
        if not streamed:
            return (await service.generate(request, "http")).results[0].text
        return [event async for event in service.stream(request, "http")][-1].result.text  # type: ignore[union-attr]

    async def keep_asking(done: asyncio.Task[Any], told: list[str]) -> None:
        while not done.done():
            try:
                told.append(await ask(SHORT))
            except ServiceError as error:
                told.append(error.code)
                await asyncio.sleep(0.005)

    async def run() -> None:
        alone, short = await ask(DOCUMENT), await ask(SHORT)
        told: list[str] = []
        document = asyncio.create_task(ask(DOCUMENT, streamed))
        await settle()
        await asyncio.gather(*(keep_asking(document, told) for _ in range(INPUTS)))
        assert await document == alone
        assert set(told) == {ErrorCode.OVERLOADED, short}

    try:
        asyncio.run(run())
    finally:
        loop.close()
