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
    """Of one loop, which says when a step begins and ends; on a thread of its own."""

    def __init__(
        self, max_step_seconds: float | None, overdue: Callable[[float], None], ticked: Callable[[], None] = lambda: None
    ) -> None:
        """`overdue` is called once, with how long a step has taken; `ticked` now and then until then."""
        self._max_step_seconds = max_step_seconds
        self._overdue = overdue
        self._ticked = ticked
        self._step: object = None
        """The one in progress, another object each time."""
        self._slowest = 0.0
        self._closed = threading.Event()
        self._tick = tick_of(max_step_seconds)
        threading.Thread(target=self._watch, name="dqbart-watchdog", daemon=True).start()

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step is in progress until the end of the block."""
        self._step = object()
        try:
            yield
        finally:
            self._step = None

    def close(self) -> None:
        """Watch no longer."""
        self._closed.set()

    @property
    def limit(self) -> float:
        """Seconds that a step may take now."""
        if self._max_step_seconds is not None:
            return self._max_step_seconds
        return max(LEAST_SECONDS, TIMES_THE_SLOWEST * self._slowest)

    def _watch(self) -> None:
        running = Running(self._tick)
        seen: object = None
        seconds = 0.0
        while not self._closed.wait(self._tick):
            passed, step = running.passed(), self._step
            if step is not None and step is seen:
                seconds += passed
            else:
                self._slowest = max(self._slowest, seconds)
                seen, seconds = step, 0.0
            if seconds > self.limit:
                self._overdue(seconds)
                return
            self._ticked()


def tick_of(max_seconds: float | None) -> float:
    """How often to look, to tell so many seconds."""
    return TICK_SECONDS if max_seconds is None else min(TICK_SECONDS, max_seconds / 4)
