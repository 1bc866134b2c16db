"""Watches over the steps of a loop: one that does not end means that nothing will ever be answered any more.

Seconds are those in which the watching process ran. While it is stopped, or its machine sleeps, nothing is counted, and on
a machine that others keep busy a watch that comes late counts no more than one that comes in time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

LEAST_SECONDS = 60.0
"""What a step may take at least, unless it is said: a thousand times what it does take."""

TIMES_THE_SLOWEST = 20
"""As many times as long as the slowest step so far a step may take, unless it is said."""

TICK_SECONDS = 1.0


class Running:
    """Counts the time in which this process ran."""

    def __init__(self, tick: float) -> None:
        self._tick = tick
        self._last = monotonic()

    def passed(self) -> float:
        """Seconds since it was asked last, which is to be after a tick; no more than two of them are counted."""
        now = monotonic()
        passed, self._last = min(now - self._last, 2 * self._tick), now
        return passed


class Watchdog:
    """Of one loop, which says when a step begins and ends."""

    def __init__(self, max_step_seconds: float | None) -> None:
        self._max_step_seconds = max_step_seconds
        self._step: object = None
        """The one in progress, another object each time."""
        self._seen: object = None
        """The one that was in progress when it was looked last."""
        self._seconds = 0.0
        """For how long that one has been seen."""
        self._slowest = 0.0
        self._closed = threading.Event()

    def start(self, overdue: Callable[[float], None], ticked: Callable[[], None]) -> None:
        """Look now and then, on a thread: `overdue` is called once, with how long a step has taken; `ticked` until then."""
        threading.Thread(target=self._watch, args=(overdue, ticked), name="dqbart-watchdog", daemon=True).start()

    def close(self) -> None:
        """Look no longer."""
        self._closed.set()

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step is in progress until the end of the block."""
        self._step = object()
        try:
            yield
        finally:
            self._step = None

    @property
    def limit(self) -> float:
        """Seconds that a step may take now."""
        if self._max_step_seconds is not None:
            return self._max_step_seconds
        return max(LEAST_SECONDS, TIMES_THE_SLOWEST * self._slowest)

    def look(self, passed: float) -> float | None:
        """So many seconds after the last look: how long a step has taken that takes too long, or None."""
        step = self._step
        if step is not None and step is self._seen:
            self._seconds += passed
        else:
            self._slowest = max(self._slowest, self._seconds)
            self._seen, self._seconds = step, 0.0
        return self._seconds if self._seconds > self.limit else None

    def _watch(self, overdue: Callable[[float], None], ticked: Callable[[], None]) -> None:
        tick = TICK_SECONDS if self._max_step_seconds is None else min(TICK_SECONDS, self._max_step_seconds / 4)
        running = Running(tick)
        while not self._closed.wait(tick):
            if (seconds := self.look(running.passed())) is not None:
                overdue(seconds)
                return
            ticked()
