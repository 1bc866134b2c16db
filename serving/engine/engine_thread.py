"""An engine on a thread of its own, which steps as long as there is work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from serving.engine.engine import Engine, EngineStats, Event
from serving.engine.errors import EngineClosed
from serving.engine.request import Request

Told = Callable[[Sequence[Event], Sequence[int]], None]
"""Called on the port's thread with what came of one or more steps, and the rows that each decoded; must be quick."""


class EngineThread:
    """A port to an engine in this process (see async_engine.py). Safe to use from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self, told: Told, ended: Callable[[], None]) -> None:
        """Begin to step; `ended` is called at the end, also when it comes by a fault. Once only."""
        self._thread = threading.Thread(target=self._run, args=(told, ended), name="dqbart-engine", daemon=True)
        self._thread.start()

    def submit(self, request_id: int, request: Request) -> None:
        """Queue a request. Raises InvalidRequest, SourceTooLong, EngineFull, EngineClosed."""
        with self._wake:
            if self._closed:
                raise EngineClosed("the engine is closed")
            self._engine.submit(request, request_id)
            self._wake.notify()

    def cancel(self, request_id: int) -> None:
        """Drop a request by the next step."""
        with self._wake:
            self._engine.cancel(request_id)
            self._wake.notify()

    @property
    def has_work(self) -> bool:
        return self._engine.has_work

    def stats(self) -> EngineStats:
        """What the engine has to do at this moment."""
        return self._engine.stats()

    @property
    def alive(self) -> bool:
        """Whether the thread runs; False after `close`, or if it died."""
        return self._thread is not None and self._thread.is_alive()

    def close(self) -> None:
        """Stop after the step in progress. May be called again."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self, told: Told, ended: Callable[[], None]) -> None:
        try:
            while self._await_work():
                events = self._engine.step()
                told(events, (self._engine.decoded_rows,))
        finally:
            # Also when a step raised in spite of everything: nobody may wait for an answer that never comes, nor for memory.
            with self._wake:
                self._closed = True
            self._engine.close()
            ended()

    def _await_work(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._closed or self._engine.has_work)
            return not self._closed
