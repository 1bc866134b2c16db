"""Work beside the loop: one piece at a time, with the context of who asked for it."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from serving.service.off_loop import off_loop

ASKING: ContextVar[str] = ContextVar("ASKING")


def test_pieces_come_one_after_the_other_on_one_thread() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def work() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.001)
        with lock:
            running -= 1
        return threading.get_ident()

    async def ask() -> list[int]:
        return await asyncio.gather(*(off_loop(work) for _ in range(10)))

    assert len(set(asyncio.run(ask()))) == 1
    assert most == 1


def test_what_is_raised_and_who_asks_is_known() -> None:
    async def ask(name: str) -> str:
        ASKING.set(name)
        return await off_loop(ASKING.get)

    async def several() -> list[str]:
        return await asyncio.gather(*(asyncio.create_task(ask(name)) for name in "abc"))

    assert asyncio.run(several()) == ["a", "b", "c"]
    with pytest.raises(ZeroDivisionError):
        asyncio.run(off_loop(lambda: 1 // 0))


def test_the_loop_goes_on_meanwhile() -> None:
    """Whatever the machine does: the work ends only when the loop has let it."""
    let = threading.Event()

    async def ask() -> bool:
        work = asyncio.ensure_future(off_loop(lambda: let.wait(60)))
        await asyncio.sleep(0)
        let.set()
        return await work

    assert asyncio.run(ask())
