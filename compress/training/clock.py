"""Time of training: the one place where the speed of a run comes from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Adds up the seconds in which it runs; what happens between, such as a validation or saving, does not count."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        """`now` gives seconds from any fixed point on."""
        self._now = now
        self._seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        started = self._now()
        try:
            yield
        finally:
            self._seconds += self._now() - started

    def take(self) -> float:
        """Seconds since the last time they were taken."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds
