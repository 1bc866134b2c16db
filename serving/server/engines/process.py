"""The replica's side: starts the process of its engines, is the port to each of them, and ends a process that hangs.

The process watches over its own steps, and says when one does not end. Where something keeps even that from running, it says
nothing any more, and is watched from here.
"""

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
from serving.engine.errors import EngineClosed, EngineNotOpened
from serving.engine.loop import overdue_fault
from serving.engine.port import Told as Tell
from serving.engine.request import Request
from serving.engine.settings import EngineSettings, RunnerName
from serving.engine.watchdog import TICK_SECONDS, Running
from serving.observability.logs import LogSettings
from serving.observability.processes import is_stopped
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
    Told,
    received,
    send,
)

SILENT_SECONDS = 60.0
"""A process that says nothing for so long hangs: it speaks every second, whatever it computes."""

SAID_SECONDS = 3.0
"""For so long a replica says that its engines hang, before it ends: whoever asks for its health may know why."""

ENDED = "the process of the engines has ended"

_LOG = logging.getLogger(__name__)


class EngineProcess:
    """One process with any number of engines. Safe to use from any thread."""

    def __init__(
        self,
        threads: int,
        logs: LogSettings,
        died: Callable[[], None] = lambda: None,
        max_step_seconds: float | None = None,
    ) -> None:
        """`died` is called, on a thread of this object's, when the process ends without having been closed."""
        self._died = died
        self._fault: str | None = None
        self._spoke = False
        self._closing = False
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._opening: dict[int, Future[None]] = {}
        self._engines: dict[int, RemoteEngine] = {}
        self._connection, theirs = socket.socketpair()
        options = [f"--connection={theirs.fileno()}", f"--threads={threads}"]
        if max_step_seconds is not None:
            options.append(f"--max-step-seconds={max_step_seconds}")
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
        threading.Thread(target=self._watch, name="dqbart-engines-watch", daemon=True).start()

    @property
    def fault(self) -> str | None:
        """Why it answers no more; None while it does."""
        return ENDED if self._fault is None and self._ended.is_set() else self._fault

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self, folder: Path, settings: EngineSettings, runner: RunnerName) -> RemoteEngine:
        """A port to an engine over an artifact, once it is loaded. Raises EngineNotOpened."""
        number, loaded = next(self._numbers), Future[None]()
        engine = RemoteEngine(self, number, folder.name, settings)
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
            raise EngineNotOpened(f"{folder}: {self.fault}") from fault
        return engine

    def send(self, message: ToEngines) -> None:
        """Raises EngineClosed when the process has ended."""
        try:
            with self._sending:
                send(self._connection, message)
        except OSError as fault:
            # Not before `died` was called: what a replica refuses that would go on for a moment is not given to another one.
            self._ended.wait()
            raise EngineClosed(ENDED) from fault

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
            if self._fault is None:
                reason = signal.Signals(-status).name if status < 0 else f"status {status}"
                _LOG.error("the process of the engines ended by itself (%s)", reason)
            self._died()
        self._ended.set()
        with self._lock:
            opening, self._opening = list(self._opening.values()), {}
            engines, self._engines = list(self._engines.values()), {}
        for loaded in opening:
            loaded.set_exception(EngineClosed(ENDED))
        for engine in engines:
            engine.end(self._fault or ENDED)
        self._connection.close()

    def _watch(self) -> None:
        """End the process when it hangs, but not before that could be known."""
        running = Running(TICK_SECONDS)
        silent = said = 0.0
        known = False
        """Whether it has said anything: until then it is being started, for as long as that takes."""
        while said < SAID_SECONDS:
            if self._ended.wait(TICK_SECONDS):
                return
            passed, spoke = running.passed(), self._spoke
            if self._fault is not None:
                said += passed
            elif spoke or not known or is_stopped(self.pid):
                # Whoever has stopped it, a person with a debugger perhaps, lets it go on.
                known = known or spoke
                self._spoke, silent = False, 0.0
            else:
                silent += passed
                if silent > SILENT_SECONDS:
                    self._hangs(f"the process of the engines has said nothing for {silent:.0f} seconds")
        self._process.kill()

    def _hangs(self, fault: str) -> None:
        # Those who wait for an answer do so until the replica ends: then they are given to another one.
        self._fault = fault
        _LOG.error("%s; the replica is being replaced", fault)

    def _take(self, message: FromEngines) -> None:
        self._spoke = True
        match message:
            case Ticked():
                pass
            case Overdue():
                self._hangs(overdue_fault(self._engines[message.engine].name, message.seconds))
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
                engine.end(message.fault)
            case _:
                assert_never(message)


class RemoteEngine:
    """A port to one engine of the process (see serving/engine/port.py)."""

    def __init__(self, process: EngineProcess, number: int, name: str, settings: EngineSettings) -> None:
        self.name = name
        self._process = process
        self._number = number
        self._stats = EngineStats(max_cache_bytes=settings.max_cache_bytes)
        self._tell: Tell | None = None
        self._told_end: Callable[[], None] | None = None
        self._fault: str | None = None
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
    def fault(self) -> str | None:
        """As the protocol says; that of the process is of all its engines."""
        return self._fault or self._process.fault

    def close(self) -> None:
        """As the protocol says."""
        with suppress(EngineClosed):
            self._process.send(Close(self._number))
        self._ended.wait()

    def told(self, message: Told) -> None:
        """Take what the engine tells."""
        self._stats = message.stats
        if self._tell is not None:
            self._tell(message.events(), message.steps)

    def end(self, fault: str) -> None:
        """Nothing more will be told, for the reason given."""
        self._fault = fault
        self._ended.set()
        if self._told_end is not None:
            self._told_end()
