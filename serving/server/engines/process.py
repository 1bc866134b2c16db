"""The replica's side: starts the process of its engines, and is the port to each of them."""

from __future__ import annotations

import itertools
import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import assert_never

from serving.engine.engine import EngineStats
from serving.engine.engine_thread import Told as Tell
from serving.engine.errors import EngineClosed, EngineNotOpened
from serving.engine.request import Request
from serving.engine.settings import EngineSettings, RunnerName
from serving.observability.logs import LogSettings
from serving.server.engines.wire import (
    Cancel,
    Close,
    Closed,
    FromEngines,
    NotOpened,
    Open,
    Opened,
    Submit,
    ToEngines,
    Told,
    received,
    send,
)

_LOG = logging.getLogger(__name__)


class EngineProcess:
    """One process with any number of engines. Safe to use from any thread."""

    def __init__(self, threads: int, logs: LogSettings, died: Callable[[], None] = lambda: None) -> None:
        """`threads` for each engine; `died` is called, on a thread of this object's, when the process ends by itself."""
        self._died = died
        self._closing = False
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._opening: dict[int, Future[None]] = {}
        self._engines: dict[int, RemoteEngine] = {}
        self._connection, theirs = socket.socketpair()
        options = [f"--connection={theirs.fileno()}", f"--threads={threads}"]
        options += [f"--log-format={logs.log_format}", f"--log-level={logs.level}"]
        # A session of its own: Ctrl-C in a terminal is for the server, which first lets its requests end.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serving.server.engines.child", *options],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._ended = threading.Event()
        threading.Thread(target=self._read, name="dqbart-engines", daemon=True).start()

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self, folder: Path, settings: EngineSettings, runner: RunnerName) -> RemoteEngine:
        """A port to an engine over an artifact, once it is loaded. Raises EngineNotOpened."""
        number, loaded = next(self._numbers), Future[None]()
        engine = RemoteEngine(self, number, settings)
        with self._lock:
            self._opening[number] = loaded
            self._engines[number] = engine
        try:
            self.send(Open(number, str(folder.resolve()), settings, runner))
            loaded.result()
        except Exception as fault:
            with self._lock:
                self._opening.pop(number, None)
                self._engines.pop(number, None)
            if isinstance(fault, EngineNotOpened):
                raise
            raise EngineNotOpened(f"{folder}: the process of the engines has ended") from fault
        return engine

    def send(self, message: ToEngines) -> None:
        """Raises EngineClosed when the process has ended."""
        try:
            with self._sending:
                send(self._connection, message)
        except OSError as fault:
            # Not before `died` was called: what a replica refuses that would go on for a moment is not given to another one.
            self._ended.wait()
            raise EngineClosed("the process of the engines has ended") from fault

    def close(self) -> None:
        """End the process; what is not finished gets EngineClosed. May be called again."""
        self._closing = True
        self._process.kill()
        self._ended.wait()

    def _read(self) -> None:
        try:
            for message in received(self._connection, FromEngines):
                self._take(message)
        except OSError:
            pass
        except Exception:
            _LOG.exception("the process of the engines is ended: what it said made no sense")
        self._process.kill()
        status = self._process.wait()
        if not self._closing:
            reason = signal.Signals(-status).name if status < 0 else f"status {status}"
            _LOG.error("the process of the engines ended by itself (%s)", reason)
            self._died()
        self._ended.set()
        with self._lock:
            opening, self._opening = list(self._opening.values()), {}
            engines, self._engines = list(self._engines.values()), {}
        for loaded in opening:
            loaded.set_exception(EngineClosed("the process of the engines has ended"))
        for engine in engines:
            engine.end()
        self._connection.close()

    def _take(self, message: FromEngines) -> None:
        match message:
            case Told():
                if engine := self._engines.get(message.engine):
                    engine.told(message)
            case Opened():
                self._opening.pop(message.engine).set_result(None)
            case NotOpened():
                self._opening.pop(message.engine).set_exception(EngineNotOpened(message.reason))
            case Closed():
                with self._lock:
                    engine = self._engines.pop(message.engine)
                engine.end()
            case _:
                assert_never(message)


class RemoteEngine:
    """A port to one engine of the process (see serving/engine/async_engine.py)."""

    def __init__(self, process: EngineProcess, number: int, settings: EngineSettings) -> None:
        self._process = process
        self._number = number
        self._stats = EngineStats(max_cache_bytes=settings.max_cache_bytes)
        self._tell: Tell | None = None
        self._told_end: Callable[[], None] | None = None
        self._ended = threading.Event()

    def start(self, told: Tell, ended: Callable[[], None]) -> None:
        """As the protocol says; before anything is submitted."""
        self._tell, self._told_end = told, ended
        if self._ended.is_set():
            ended()

    def submit(self, request_id: int, request: Request) -> None:
        """Raises EngineClosed; what else is wrong with the request is told as its end."""
        self._process.send(Submit(self._number, request_id, request))

    def cancel(self, request_id: int) -> None:
        """As the protocol says."""
        with suppress(EngineClosed):
            self._process.send(Cancel(self._number, request_id))

    def stats(self) -> EngineStats:
        """As of the engine's last message, which a busy one sends every twentieth of a second at least."""
        return self._stats

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    def close(self) -> None:
        """As the protocol says."""
        with suppress(EngineClosed):
            self._process.send(Close(self._number))
        self._ended.wait()

    def told(self, message: Told) -> None:
        """Take what the engine tells."""
        self._stats = message.stats
        if self._tell is not None:
            self._tell(message.events(), message.rows)

    def end(self) -> None:
        """Nothing more will be told."""
        self._ended.set()
        if self._told_end is not None:
            self._told_end()
