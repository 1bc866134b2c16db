"""The engine on a thread of its own, awaited from any event loop.

Steps never run on an event loop, and `generate` never waits for one to end before it can be cancelled. An observer sees each
step from the engine's thread, so that metrics need no second clock.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from serving.engine.engine import Engine, EngineStats, Finished
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
        self._waiting: dict[int, Future[Result]] = {}
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="dqbart-engine", daemon=True)
        self._thread.start()

    async def generate(self, request: Request) -> Result:
        """The result of one request; cancelling the awaiting task drops the request by the next step.

        Raises InvalidRequest, SourceTooLong, EngineFull, EngineClosed, and GenerationFailed with the fault as its cause.
        """
        future: Future[Result] = Future()
        with self._wake:
            if self._closed:
                raise EngineClosed("the engine is closed")
            request_id = self._engine.submit(request)
            self._waiting[request_id] = future
            self._wake.notify()
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._drop(request_id)
            raise

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

    def _drop(self, request_id: int) -> None:
        with self._wake:
            self._waiting.pop(request_id, None)
            self._engine.cancel(request_id)
            self._wake.notify()

    def _run(self) -> None:
        try:
            while self._await_work():
                finished = self._engine.step()
                with self._wake:
                    ends = [(self._waiting.pop(end.request_id, None), end) for end in finished]
                self._observe()
                for future, end in ends:
                    _deliver(future, end)
        finally:
            # Also when a step raised in spite of everything: nobody may wait for an answer that never comes.
            with self._wake:
                self._closed = True
                abandoned, self._waiting = list(self._waiting.values()), {}
            for future in abandoned:
                if future.set_running_or_notify_cancel():
                    future.set_exception(EngineClosed("the engine was closed before the request was finished"))

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


def _deliver(future: Future[Result] | None, end: Finished) -> None:
    """Answer whoever waits, unless they have left."""
    if future is None or not future.set_running_or_notify_cancel():
        return
    if isinstance(end.outcome, Exception):
        future.set_exception(end.outcome)
    else:
        future.set_result(end.outcome)
