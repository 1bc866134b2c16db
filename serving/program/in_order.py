"""Any number of inputs, answered in their order, some of them at a time.

So many are on their way that the engine's batch stays full, whatever each takes, and no more are read ahead of the oldest
that has no answer than `AHEAD` times as many: neither a slow answer nor a large input makes anything pile up. Inputs are
taken from their iterator by whoever takes the results, on the same thread. Leaving an iterator of results cancels what is on
its way.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any

from quant.errors import Error
from serving.program.options import OnError
from serving.service.errors import ErrorCode, ServiceError
from serving.service.results import Result

AHEAD = 4
"""Inputs that may be answered before the oldest one is, as a multiple of those that are on their way."""

_END = object()


def in_order(
    submit: Callable[[Any], Future[Result]], inputs: Iterable[Any], most: int, on_error: OnError, total: int | None = None
) -> Generator[Result | Error]:
    """Results of inputs, `most` on their way at a time; `total` is how many there are, where that is known.

    What `inputs` raises is raised in its turn, when all before it are answered.
    """
    coming = iter(inputs)
    waiting: deque[Future[Result]] = deque()
    changed = threading.Condition()
    unfinished, ended, fault, place = 0, False, None, 0

    def finish(_: Future[Result]) -> None:
        nonlocal unfinished
        with changed:
            unfinished -= 1
            changed.notify()

    def has_room() -> bool:
        return not ended and unfinished < most and len(waiting) < AHEAD * most

    try:
        while True:
            taken = False
            # One at least for each that is given, so that a reader who is slow at times finds as many on their way.
            while has_room() and not (taken and waiting[0].done()):
                try:
                    given = next(coming)
                except StopIteration:
                    ended = True
                except Exception as raised:
                    ended, fault = True, raised
                else:
                    with changed:
                        unfinished += 1
                    taken = True
                    waiting.append(submit(given))
                    waiting[-1].add_done_callback(finish)
            if not waiting:
                if fault is not None:
                    raise fault
                return
            with changed:
                changed.wait_for(lambda: waiting[0].done() or has_room())
            if waiting[0].done():
                yield _outcome(waiting.popleft(), on_error, place, total)
                place += 1
    finally:
        for future in waiting:
            future.cancel()


async def in_order_async(
    submit: Callable[[Any], asyncio.Future[Result]],
    inputs: Iterable[Any] | AsyncIterable[Any],
    most: int,
    on_error: OnError,
    total: int | None = None,
) -> AsyncGenerator[Result | Error]:
    """As `in_order`; the next input is awaited beside the answers."""
    coming = _iterated(inputs)
    waiting: deque[asyncio.Future[Result]] = deque()
    changed = asyncio.Event()
    following: asyncio.Future[Any] | None = None
    unfinished, ended, fault, place = 0, False, None, 0

    def finish(_: asyncio.Future[Result]) -> None:
        nonlocal unfinished
        unfinished -= 1
        changed.set()

    async with aclosing(coming):
        try:
            while not (ended and not waiting):
                changed.clear()
                if following is None and not ended and unfinished < most and len(waiting) < AHEAD * most:
                    following = asyncio.ensure_future(_next(coming))
                    following.add_done_callback(lambda _: changed.set())
                if following is not None and following.done():
                    taken, following = following, None
                    try:
                        given = taken.result()
                    except Exception as raised:
                        ended, fault = True, raised
                    else:
                        if given is _END:
                            ended = True
                            continue
                        unfinished += 1
                        waiting.append(submit(given))
                        waiting[-1].add_done_callback(finish)
                elif waiting and waiting[0].done():
                    yield _outcome(waiting.popleft(), on_error, place, total)
                    place += 1
                else:
                    await changed.wait()
            if fault is not None:
                raise fault
        finally:
            for future in waiting:
                future.cancel()
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)


async def _next(coming: AsyncGenerator[Any]) -> Any:
    return await anext(coming, _END)


async def _iterated(inputs: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any]:
    if isinstance(inputs, AsyncIterable):
        async for each in inputs:
            yield each
    else:
        for each in inputs:
            yield each


def _outcome(
    future: Future[Result] | asyncio.Future[Result], on_error: OnError, place: int, total: int | None
) -> Result | Error:
    try:
        return future.result()
    except ServiceError as error:
        if on_error == "return" and error.code is not ErrorCode.UNAVAILABLE:
            return error
        if total == 1:
            raise
        of = "" if total is None else f" of {total}"
        raise ServiceError(error.code, f"input {place + 1}{of}: {error.message}", error.field) from None
    except Error as error:
        if on_error == "return":
            return error
        raise
