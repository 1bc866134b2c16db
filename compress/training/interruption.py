"""Ctrl-C as a request: what is under way is finished and saved first."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

NOTE = "\nstopping: what is under way is finished, then saved; Ctrl-C once more stops at once, without saving\n"


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a flag that is looked at between steps, and say so; a second SIGINT stops at once."""
    received: list[int] = []

    def note(number: int, _: Any) -> None:
        if number in received:
            raise KeyboardInterrupt
        if not received:
            os.write(2, NOTE.encode())  # unbuffered: the signal may have come while something else was being printed
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
