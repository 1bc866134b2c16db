"""An engine that runs somewhere, awaited from any event loop.

Steps never run on an event loop, and nobody who waits for an answer waits for a step to end before they can leave. Where the
engine runs is its port's business (port.py): on the loop of this process, or in another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from serving.engine.engine import Emitted, EngineStats, Event, Finished
from serving.engine.errors import EngineClosed
from serving.engine.port import EnginePort, Step
from serving.engine.request import Request, Result

_LOG = logging.getLogger(__name__)

StepObserver = Callable[[Step], None]
"""Called after each step, on the port's thread; must be quick. What it raises is logged."""


class AsyncEngine:
    """What an event loop asks an engine through. Safe to use from any thread and any event loop."""

    def __init__(self, port: EnginePort, observer: StepObserver | None = None) -> None:
        self._port = port
        self._observer = observer
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._listeners: dict[int, _Listener] = {}
        self._ended = False
        port.start(self._tell, self._end)

    async def generate(self, request: Request) -> Result:
        """The result of one request; cancelling the awaiting task drops the request by the next step.

        Raises InvalidRequest, SourceTooLong, EngineFull, EngineClosed and GenerationFailed.
        """
        (result,) = [answer async for answer in self._answers(replace(request, stream=False)) if isinstance(answer, Result)]
        return result

    def stream(self, request: Request) -> AsyncGenerator[tuple[int, ...] | Result]:
        """Token ids as soon as they are certain, and the result as the last item.

        An item has all ids that became so since the one before it, together they are the result's. Nothing is submitted
        before the first item is asked for, which raises what `generate` raises. Leaving the iterator, by `aclose` or by
        cancelling the task, drops the request by the next step; after a `break` Python closes it soon by itself, at once
        within `contextlib.aclosing`.
        """
        return self._answers(replace(request, stream=True))

    def stats(self) -> EngineStats:
        """What the engine has to do at this moment."""
        return self._port.stats()

    @property
    def loaded(self) -> bool:
        """Whether it is in memory: as long as it is there."""
        return True

    @property
    def fault(self) -> str | None:
        """Why the engine generates no more, after `close` or if it died; None while it does."""
        return self._port.fault

    def close(self) -> None:
        """Stop after the step in progress; every request that is not finished gets EngineClosed. May be called again."""
        self._port.close()

    async def _answers(self, request: Request) -> AsyncGenerator[tuple[int, ...] | Result]:
        listener, request_id = _Listener(), next(self._ids)
        with self._lock:
            if self._ended:
                raise EngineClosed(self._port.fault or "the engine is closed")
            self._listeners[request_id] = listener
        try:
            self._port.submit(request_id, request)
            outcome = None
            while outcome is None:
                token_ids, outcome = await listener.news()
                if token_ids:
                    yield token_ids
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome
        finally:
            self._drop(request_id)

    def _drop(self, request_id: int) -> None:
        with self._lock:
            listens = self._listeners.pop(request_id, None) is not None
        if listens:
            self._port.cancel(request_id)

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            abandoned, self._listeners = list(self._listeners.values()), {}
        for listener in abandoned:
            listener.end(EngineClosed(f"{self._port.fault or 'the engine is closed'}; the request was not finished"))
        _wake(abandoned)

    def _observe(self, steps: Sequence[Step]) -> None:
        if self._observer is None:
            return
        try:
            for step in steps:
                self._observer(step)
        except Exception:
            _LOG.exception("the step observer failed")

    def _tell(self, events: Sequence[Event], steps: Sequence[Step]) -> None:
        """Hand events to those who still listen."""
        self._observe(steps)
        told = []
        for event in events:
            with self._lock:
                listener = self._listeners.get(event.request_id)
                if isinstance(event, Finished):
                    self._listeners.pop(event.request_id, None)
            if listener is None:
                continue
            if isinstance(event, Emitted):
                listener.emit(event.token_ids)
            else:
                listener.end(event.outcome)
            told.append(listener)
        _wake(told)


class _Listener:
    """Takes from the engine's thread to one coroutine what happens to its request; made on the coroutine's event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.changed = asyncio.Event()
        self._lock = threading.Lock()
        self._token_ids: list[int] = []
        self._outcome: Result | Exception | None = None

    def emit(self, token_ids: tuple[int, ...]) -> None:
        with self._lock:
            self._token_ids += token_ids

    def end(self, outcome: Result | Exception) -> None:
        with self._lock:
            self._outcome = outcome

    async def news(self) -> tuple[tuple[int, ...], Result | Exception | None]:
        """What is new, as soon as something is: tokens, and the outcome at the end."""
        await self.changed.wait()
        with self._lock:
            self.changed.clear()
            token_ids, self._token_ids = tuple(self._token_ids), []
            return token_ids, self._outcome


def _wake(listeners: Sequence[_Listener]) -> None:
    """Let them look for news: each event loop once, for it takes a system call, and Python's lock from the engine."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Listener]] = {}
    for listener in listeners:
        by_loop.setdefault(listener.loop, []).append(listener)
    for loop, woken in by_loop.items():
        # A loop that was closed has nobody left who listens.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_set_all, woken)


def _set_all(listeners: Sequence[_Listener]) -> None:
    for listener in listeners:
        listener.changed.set()
