"""The way to an engine, wherever it runs: on the loop of this process (loop.py), or in another process (server/engines)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from serving.engine.engine import EngineStats, Event
from serving.engine.request import Request


class Step(NamedTuple):
    """What an engine did in a turn."""

    rows: int
    """That it decoded; 0 where it only encoded."""
    seconds: float
    """Of its encoding and decoding."""


Told = Callable[[Sequence[Event], Sequence[Step]], None]
"""Called on the port's thread with what came of one or more steps; must be quick."""


class EnginePort(Protocol):
    """Events come on a thread of the port's. The rest may be used from any thread."""

    def start(self, told: Told, ended: Callable[[], None]) -> None:
        """Begin to work; `ended` is called when nothing more will be told. Once only."""

    def submit(self, request_id: int, request: Request) -> None:
        """Queue a request. What is wrong with it is raised, or told as its end."""

    def cancel(self, request_id: int) -> None:
        """Drop a request by the next step; one that has ended is left alone."""

    def stats(self) -> EngineStats:
        """What the engine has to do at this moment."""

    @property
    def fault(self) -> str | None:
        """Why it generates no more, so that it can be said of it; None while it does."""

    def close(self) -> None:
        """Stop after the step in progress; returns when it has. May be called again."""
