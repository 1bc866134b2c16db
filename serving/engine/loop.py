"""One thread that steps all engines of a process, in turn.

A turn is of all engines that have work. First they encode, within one limit for all of them, for rows of any model wait for
it; then each decodes, a step or what steps it can take in the time of a visit. Nobody has priority: each is visited once a
turn, whatever it has queued, and who encodes first goes to the end of the line. Engines without work are not looked at.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import perf_counter

from serving.engine.engine import Engine, EngineStats, Event
from serving.engine.errors import EngineClosed
from serving.engine.port import Step, Told
from serving.engine.request import Request
from serving.engine.turn import Turn
from serving.engine.watchdog import Watchdog

CLOSED = "the engine is closed"

VISIT_SECONDS = 0.01
"""How long an engine goes on with steps where others have work too. Each brings its weights into the caches anew: ten small
models took up to 1.7 times as long for a step each, in turns, as one of them for its steps."""

FULL = 0.75
"""The part of the batch's rows that is enough for a visit of several steps while requests wait to be encoded: they join by
the next turn, and steps of few rows are dear."""

_LOG = logging.getLogger(__name__)


class EngineLoop:
    """Engines come and go while it runs. Safe to use from any thread, but not from what it calls."""

    def __init__(
        self,
        max_step_seconds: float | None = None,
        overdue: Callable[[LoopPort, float], None] | None = None,
        ticked: Callable[[], None] = lambda: None,
    ) -> None:
        """A step that takes longer than `max_step_seconds` (None: many times as long as any before) never ends.

        Then every engine has that fault, and ends; or `overdue` is told whose step it is, and how long it has taken, and
        does what is to be done. `ticked` is called now and then until then (see watchdog.py).
        """
        self._changed = threading.Condition()
        self._ports: set[LoopPort] = set()
        self._busy: dict[LoopPort, None] = {}
        """Those with work, in the order in which they decode."""
        self._line: dict[LoopPort, None] = {}
        """The same ones, in the order in which they may encode."""
        self._current: LoopPort | None = None
        """Whose step is in progress."""
        self._closed = False
        self._ended = threading.Event()
        self._overdue = overdue or self._give_up
        self._watchdog = Watchdog(max_step_seconds)
        self._watchdog.start(self._tell_overdue, ticked)
        threading.Thread(target=self._run, name="dqbart-engines", daemon=True).start()

    def add(self, engine: Engine, name: str = "the model") -> LoopPort:
        """A port to an engine, which nothing else steps; faults call it by the name."""
        return LoopPort(self, engine, name)

    def close(self) -> None:
        """Stop after the step in progress; what is not finished gets EngineClosed. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._ended.wait()
        self._watchdog.close()

    def join(self, port: LoopPort) -> None:
        """A port begins. Raises EngineClosed."""
        with self._changed:
            if self._closed:
                raise EngineClosed(CLOSED)
            self._ports.add(port)

    def wake(self, port: LoopPort) -> None:
        """A port has work. Raises EngineClosed when it has ended."""
        with self._changed:
            if port not in self._ports:
                raise EngineClosed(port.fault or CLOSED)
            if port not in self._busy:
                self._busy[port] = self._line[port] = None
                self._changed.notify_all()

    def remove(self, port: LoopPort, fault: str) -> None:
        """End a port, after its step in progress."""
        with self._changed:
            port.leaving = True
            self._changed.wait_for(lambda: self._current is not port or port not in self._ports)
            if port not in self._ports:
                return
            self._forget(port)
        port.end(fault)

    def _forget(self, port: LoopPort) -> None:
        self._ports.discard(port)
        self._busy.pop(port, None)
        self._line.pop(port, None)
        self._changed.notify_all()

    def _run(self) -> None:
        try:
            while self._await_work():
                self._turn()
        finally:
            # Also when something raised in spite of everything: nobody may wait for an answer that never comes.
            self._end_all(CLOSED)

    def _await_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._busy)
            return not self._closed

    def _turn(self) -> None:
        with self._changed:
            ports, line = list(self._busy), list(self._line)
        self._encode(ports, line)
        seconds = VISIT_SECONDS if len(ports) > 1 else 0.0
        for port in ports:
            self._do(port, partial(port.decode, seconds))
        with self._changed:
            for port in ports:
                if port in self._busy and not port.engine.has_work:
                    del self._busy[port], self._line[port]

    def _encode(self, ports: list[LoopPort], line: list[LoopPort]) -> None:
        started = perf_counter()
        waiting = [port for port in ports if port.engine.rows]
        turn = Turn(rows_wait=bool(waiting))
        first = None
        for port in line:
            self._do(port, partial(port.encode, turn))
            if first is None and turn.encoded_tokens:
                first = port
        if first is None:
            return
        seconds = perf_counter() - started
        for port in waiting:
            port.engine.waited(seconds)
        with self._changed:
            if first in self._line:
                del self._line[first]
                self._line[first] = None

    def _do(self, port: LoopPort, work: Callable[[Watchdog], None]) -> None:
        """Work for a port that has not ended; a fault in it ends that port, and no other."""
        with self._changed:
            if port not in self._ports or port.leaving:
                return
            self._current = port
        fault = None
        try:
            work(self._watchdog)
        except Exception as error:
            _LOG.exception("%s: its engine has ended by a fault", port.name)
            fault = f"its engine has ended by a fault: {type(error).__name__}"
        with self._changed:
            self._current = None
            self._changed.notify_all()
        if fault is not None:
            self.remove(port, fault)

    def _end_all(self, fault: str) -> None:
        with self._changed:
            self._closed = True
            ports = list(self._ports)
            for port in ports:
                self._forget(port)
        for port in ports:
            port.end(fault)
        self._ended.set()

    def _tell_overdue(self, seconds: float) -> None:
        with self._changed:
            port = self._current
        if port is not None:
            self._overdue(port, seconds)

    def _give_up(self, port: LoopPort, seconds: float) -> None:
        fault = overdue_fault(port.name, seconds)
        _LOG.error("%s; nothing in this process will be answered any more", fault)
        self._end_all(fault)


class LoopPort:
    """A port to an engine of the loop (see port.py)."""

    def __init__(self, loop: EngineLoop, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name
        self._loop = loop
        self._told: Told | None = None
        self._ended: Callable[[], None] | None = None
        self._fault: str | None = None
        self.leaving = False
        """Nothing more is begun for it."""
        # What came of the turn in progress.
        self._events: list[Event] = []
        self._seconds = 0.0

    def start(self, told: Told, ended: Callable[[], None]) -> None:
        """As the protocol says. Raises EngineClosed when the loop is closed."""
        self._told, self._ended = told, ended
        self._loop.join(self)

    def submit(self, request_id: int, request: Request) -> None:
        """Queue a request. Raises InvalidRequest, SourceTooLong, EngineFull, EngineClosed."""
        if self._fault is not None:
            raise EngineClosed(self._fault)
        self.engine.submit(request, request_id)
        self._loop.wake(self)

    def cancel(self, request_id: int) -> None:
        """As the protocol says."""
        self.engine.cancel(request_id)
        with suppress(EngineClosed):
            self._loop.wake(self)

    def stats(self) -> EngineStats:
        return self.engine.stats()

    @property
    def has_work(self) -> bool:
        return self.engine.has_work

    @property
    def fault(self) -> str | None:
        return self._fault

    def close(self) -> None:
        """As the protocol says; the other engines of the loop go on."""
        self._loop.remove(self, CLOSED)

    def encode(self, turn: Turn, watchdog: Watchdog) -> None:
        """Its part of a turn's encoding, on the loop's thread as what follows."""
        started = perf_counter()
        with watchdog.step():
            self._events += self.engine.encode(turn)
        self._seconds += perf_counter() - started

    def decode(self, seconds: float, watchdog: Watchdog) -> None:
        """Steps, one at least, for so long; what came of each is told."""
        ends = perf_counter() + seconds
        self._step(watchdog)
        while perf_counter() < ends and self._goes_on():
            self._step(watchdog)

    def _goes_on(self) -> bool:
        """Whether another step of a visit can be taken, and is worth it."""
        engine = self.engine
        if not engine.rows or not engine.decoded_rows or self.leaving:
            return False
        return not engine.waiting or engine.rows > FULL * engine.most_rows

    def _step(self, watchdog: Watchdog) -> None:
        started = perf_counter()
        with watchdog.step():
            events = [*self._events, *self.engine.decode()]
        step = Step(self.engine.decoded_rows, self._seconds + perf_counter() - started)
        self._events, self._seconds = [], 0.0
        if self._told is not None and self._fault is None:
            self._told(events, (step,))

    def end(self, fault: str) -> None:
        """Nothing more will be told."""
        self._fault = fault
        self.engine.close()
        if self._ended is not None:
            self._ended()


def overdue_fault(name: str, seconds: float) -> str:
    """What is said of a step that does not end."""
    return f"a step of {name} has taken {seconds:.0f} seconds, and has not ended"
