"""What signals mean to `dqbart serve`: SIGTERM and SIGINT stop it, a second one at once; SIGHUP exchanges the models.

They are taken on a thread of their own, as soon as they come and whatever the main thread does. An exception in the main
thread would come up anywhere in Ray's code, which swallows it, turns it into another one, or has half a cluster by then. And
Ray puts a handler of its own in the place of ours while it starts: the kernel's news of a signal reach the thread nonetheless.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable
from typing import Literal, NoReturn

Wish = Literal["stop", "reload"]


class Signals:
    """One process's; made in its main thread. Until `serving` is set, a signal that stops ends the process at once."""

    def __init__(self, end: Callable[[int], NoReturn]) -> None:
        """`end` ends the process, with whatever it started, by the exit code that it is given."""
        self.serving = False
        self._end = end
        self._stopping = False
        self._wishes: queue.SimpleQueue[Wish] = queue.SimpleQueue()
        self._news, news = os.pipe()
        os.set_blocking(news, False)
        signal.set_wakeup_fd(news, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Without a handler in Python nothing is told.
            signal.signal(number, lambda *_: None)
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
            for number in os.read(self._news, 512):
                if number == signal.SIGHUP:
                    self._wishes.put("reload")
                elif number in (signal.SIGINT, signal.SIGTERM):
                    if self._stopping or not self.serving:
                        self._stopping = True
                        self._end(128 + number)
                    self._stopping = True
                    self._wishes.put("stop")
