"""What signals mean to `dqbart serve`: SIGTERM and SIGINT stop it, a second one at once; SIGHUP exchanges the models."""

from __future__ import annotations

import os
import queue
import signal
from typing import Literal

from serving.server.processes import kill_descendants

Wish = Literal["stop", "reload"]


class Signals:
    """Takes signals in the main thread. Until `serving` is set, one that stops ends the start by SystemExit."""

    def __init__(self) -> None:
        self.serving = False
        self.stopping = False
        self._wishes: queue.SimpleQueue[Wish] = queue.SimpleQueue()

    def install(self) -> None:
        """Handle them from now on; again after Ray has installed a handler of its own."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, lambda *_: self._wishes.put("reload"))

    def wish(self) -> Wish:
        """Wait for what is wanted next."""
        return self._wishes.get()

    def _stop(self, number: int, _: object) -> None:
        if self.stopping:
            kill_descendants()
            os._exit(128 + number)
        self.stopping = True
        self._wishes.put("stop")
        if not self.serving:
            raise SystemExit(128 + number)
