"""The process of a replica's engines; started by process.py, ends when its replica does.

The main thread reads what the replica asks; a loop steps all engines on another, which also tells what came of it. Both may
wait until the replica has taken what it was told before, which a thread of the replica's does at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import assert_never

from serving.engine.cache_budget import CacheBudget
from serving.engine.engine import Event, Finished, load_engine
from serving.engine.errors import EngineClosed, EngineFull, InvalidRequest
from serving.engine.loop import CLOSED, EngineLoop, LoopPort
from serving.engine.memory import give_back_freed_memory
from serving.engine.port import Step
from serving.engine.threads import set_threads
from serving.observability.logs import LogSettings, configure_logs
from serving.server.engines.wire import (
    Cancel,
    Close,
    Closed,
    FromEngines,
    NotOpened,
    Open,
    Opened,
    Overdue,
    Submit,
    Ticked,
    ToEngines,
    received,
    send,
    told,
)

STATS_SECONDS = 0.05
"""How old what the replica knows of a busy engine may become; an event takes it along earlier."""

_LOG = logging.getLogger(__name__)

Send = Callable[[FromEngines], None]


class _Engine:
    """An engine with its number."""

    def __init__(self, number: int, port: LoopPort, send: Send) -> None:
        self.number = number
        self.port = port
        self._send = send
        self._steps: list[Step] = []
        self._last = 0.0
        port.start(self._told, lambda: send(Closed(number, port.fault or CLOSED)))

    def submit(self, request: Submit) -> None:
        try:
            self.port.submit(request.request_id, request.request)
        except (InvalidRequest, EngineFull, EngineClosed) as fault:
            self._send(told(self.number, [Finished(request.request_id, fault)], [], self.port.stats()))

    def _told(self, events: Sequence[Event], steps: Sequence[Step]) -> None:
        self._steps += steps
        now = perf_counter()
        # What the replica shows of an engine without work must not be what it had to do before.
        if events or now - self._last >= STATS_SECONDS or not self.port.has_work:
            self._send(told(self.number, events, self._steps, self.port.stats()))
            self._steps, self._last = [], now


class Engines:
    """Does what the replica asks. What it asks of an engine that has been closed is left: it is told that all has ended."""

    def __init__(self, send: Send, max_step_seconds: float | None = None) -> None:
        self._send = send
        self._loop = EngineLoop(max_step_seconds, self._overdue, lambda: send(Ticked()))
        self._engines: dict[int, _Engine] = {}
        self._budget: CacheBudget | None = None
        """Of all engines; as large as the settings of the first one say."""

    def do(self, message: ToEngines) -> None:
        if isinstance(message, Open):
            self._budget = self._budget or CacheBudget(message.settings.max_cache_bytes)
            _on_a_thread(lambda: self._open(message))
        elif engine := self._engines.get(message.engine):
            match message:
                case Submit():
                    engine.submit(message)
                case Cancel():
                    engine.port.cancel(message.request_id)
                case Close():
                    _on_a_thread(lambda: self._close(message.engine))
                case _:
                    assert_never(message)

    def _open(self, message: Open) -> None:
        try:
            folder = Path(message.folder)
            engine = load_engine(folder, message.settings, message.runner, self._budget)
            port = self._loop.add(engine, folder.name)
        except Exception as fault:
            _LOG.error("%s could not be opened", message.folder, exc_info=fault)
            self._send(NotOpened(message.engine, str(fault) or type(fault).__name__))
            return
        self._engines[message.engine] = _Engine(message.engine, port, self._send)
        self._send(Opened(message.engine))

    def _close(self, number: int) -> None:
        if engine := self._engines.pop(number, None):
            engine.port.close()
            del engine
            give_back_freed_memory()

    def _overdue(self, port: LoopPort, seconds: float) -> None:
        for engine in list(self._engines.values()):
            if engine.port is port:
                self._send(Overdue(engine.number, seconds))


def _on_a_thread(work: Callable[[], None]) -> None:
    # What is asked meanwhile is read. And on a thread that ends: OpenMP, which PyTorch computes with and the kernels do not,
    # keeps a team of threads for every living thread that ever computed with it.
    threading.Thread(target=work, daemon=True).start()


def _end() -> None:
    """The replica has gone: nobody waits for a step in progress, nor for what it would be told."""
    os._exit(0)


def main() -> None:
    """`--connection FD` is the replica's end of a pair of sockets' other end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--connection", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--max-step-seconds", type=float)
    parser.add_argument("--log-format", choices=["console", "json"], required=True)
    parser.add_argument("--log-level", required=True)
    given = parser.parse_args()
    configure_logs(LogSettings(given.log_format, given.log_level))
    set_threads(given.threads)
    connection = socket.socket(fileno=given.connection)
    sending = threading.Lock()

    def tell(message: FromEngines) -> None:
        try:
            with sending:
                send(connection, message)
        except OSError:
            _end()

    engines = Engines(tell, given.max_step_seconds)
    for message in received(connection, ToEngines):
        engines.do(message)
    _end()


if __name__ == "__main__":
    main()
