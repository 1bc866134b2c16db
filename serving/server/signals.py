"""What signals mean to `dqbart serve`: SIGTERM and SIGINT stop it, a second one at once; SIGHUP exchanges the models.

They are blocked in all threads and taken by one that waits for them, whatever the main thread does. Handlers would not do:
Ray puts its own in their place while it starts, in Python and in C++, and what they raised would come up anywhere in Ray's
code, which swallows it or has half a cluster by then.

What is started later inherits the block. So a signal to the whole group of processes, as terminals and service managers send
it, does not take Ray away from a server that finishes its requests; Ray's processes are ended by SIGKILL.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable
from typing import Literal, NoReturn

Wish = Literal["stop", "reload"]

TAKEN = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


class Signals:
    """One process's, made before it has any other thread. Until `serving` is set, what stops it ends it at once."""

    def __init__(self, end: Callable[[int], NoReturn]) -> None:
        """`end` ends the process, with whatever it started, by the exit code that it is given."""
        self.serving = False
        self._end = end
        self._stopping = False
        self._wishes: queue.SimpleQueue[Wish] = queue.SimpleQueue()
        signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)
        threading.Thread(target=self._take, name="dqbart-signals", daemon=True).start()

    def wish(self) -> Wish:
        """Wait for what is wanted next."""
        return self._wishes.get()

    def hold_if_ending(self) -> None:
        """Does not return when a signal has ended the start: what the main thread meets then is of no interest."""
        if self._stopping and not self.serving:
            threading.Event().wait()

    def _take(self) -> None:
        while True:
            number = signal.sigwait(TAKEN)
            if number == signal.SIGHUP:
                self._wishes.put("reload")
            elif self._stopping or not self.serving:
                self._stopping = True
                self._end(128 + number)
            else:
                self._stopping = True
                self._wishes.put("stop")
