"""Who waits for room in an engine's queue: windows of requests that were admitted, ahead of whoever comes anew.

A request is admitted when the windows that it begins with are queued, and refused at once otherwise. A later window that
finds the queue full waits instead, for with a refusal the work done so far would be lost. While some wait, nobody new is
admitted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from serving.engine.errors import EngineFull

T = TypeVar("T")


class Line:
    """Of one engine. It is for one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def ask(self, engine: Callable[[], Awaitable[T]], admitted: bool) -> T:
        """What `engine` gives, which is asked again as long as it raises EngineFull to a request that was `admitted`."""
        if self._waiting and not admitted:
            raise EngineFull("windows of admitted requests wait for room")
        again = False
        while True:
            try:
                answer = await engine()
            except EngineFull:
                if not admitted:
                    raise
            except BaseException:
                self._call_next()
                raise
            else:
                self._call_next()
                return answer
            await self._wait(again)
            again = True

    def _call_next(self) -> None:
        """Whoever leaves the engine leaves room to one of the line, now or by the next of its steps."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return

    async def _wait(self, in_front: bool) -> None:
        place = asyncio.get_running_loop().create_future()
        if in_front:
            self._waiting.appendleft(place)
        else:
            self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                # It was called, and leaves.
                self._call_next()
            elif place in self._waiting:
                self._waiting.remove(place)
            raise
