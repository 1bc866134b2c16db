"""The engine on a thread of its own, awaited from any event loop.

Steps never run on an event loop, and nobody who waits for an answer waits for a step to end before they can leave. An
observer sees each step from the engine's thread, so that metrics need no second clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

from serving.engine.engine import Emitted, Engine, EngineStats, Event, Finished
from serving.engine.errors import EngineClosed
from serving.engine.request import Request, Result

_LOG = logging.getLogger(__name__)

StepObserver = Callable[[int], None]
"""Called after each step with the rows that it decoded, on the engine's thread; must be quick. What it raises is logged."""


class AsyncEngine:
    """An engine and its thread. Safe to use from any thread and any event loop."""

    def __init__(self, engine: Engine, observer: StepObserver | None = None) -> None:
        self._engine = engine
        self._observer = observer
        self._listeners: dict[int, _Listener] = {}
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="dqbart-engine", daemon=True)
        self._thread.start()

    async def generate(self, request: Request) -> Result:
        """The result of one request; cancelling the awaiting task drops the request by the next step.

        Raises InvalidRequest, SourceTooLong, EngineFull, EngineClosed, and GenerationFailed with the fault as its cause.
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
        return self._engine.stats()

    @property
    def alive(self) -> bool:
        """Whether the engine's thread runs; False after `close`, or if the thread died."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop after the step in progress; every request that is not finished gets EngineClosed. May be called again."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    async def _answers(self, request: Request) -> AsyncGenerator[tuple[int, ...] | Result]:
        listener = _Listener()
        with self._wake:
            if self._closed:
                raise EngineClosed("the engine is closed")
            request_id = self._engine.submit(request)
            self._listeners[request_id] = listener
            self._wake.notify()
        try:
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
        with self._wake:
            if self._listeners.pop(request_id, None) is not None:
                self._engine.cancel(request_id)
                self._wake.notify()

    def _run(self) -> None:
        try:
            while self._await_work():
                events = self._engine.step()
                self._observe()
                self._tell(events)
        finally:
            # Also when a step raised in spite of everything: nobody may wait for an answer that never comes.
            with self._wake:
                self._closed = True
                abandoned, self._listeners = list(self._listeners.values()), {}
            for listener in abandoned:
                listener.end(EngineClosed("the engine was closed before the request was finished"))

    def _await_work(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._closed or self._engine.has_work)
            return not self._closed

    def _observe(self) -> None:
        if self._observer is not None:
            try:
                self._observer(self._engine.decoded_rows)
            except Exception:
                _LOG.exception("the step observer failed")

    def _tell(self, events: list[Event]) -> None:
        """Hand events to those who still listen."""
        for event in events:
            with self._wake:
                listener = self._listeners.get(event.request_id)
                if isinstance(event, Finished):
                    self._listeners.pop(event.request_id, None)
            if listener is None:
                continue
            if isinstance(event, Emitted):
                listener.emit(event.token_ids)
            else:
                listener.end(event.outcome)


class _Listener:
    """Takes from the engine's thread to one coroutine what happens to its request; made on the coroutine's event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._changed = asyncio.Event()
        self._token_ids: list[int] = []
        self._outcome: Result | Exception | None = None

    def emit(self, token_ids: tuple[int, ...]) -> None:
        with self._lock:
            self._token_ids += token_ids
        self._wake()

    def end(self, outcome: Result | Exception) -> None:
        with self._lock:
            self._outcome = outcome
        self._wake()

    async def news(self) -> tuple[tuple[int, ...], Result | Exception | None]:
        """What is new, as soon as something is: tokens, and the outcome at the end."""
        await self._changed.wait()
        with self._lock:
            self._changed.clear()
            token_ids, self._token_ids = tuple(self._token_ids), []
            return token_ids, self._outcome

    def _wake(self) -> None:
        # A loop that was closed has nobody left who listens.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._changed.set)
