"""What the service tells of requests to whoever counts them: Prometheus' metrics in a server, nobody in a program."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, Protocol

from quant.card import Task
from serving.engine.request import Result

UNKNOWN_MODEL = "unknown"
"""Counted for requests that have no model: what clients call one must not become a label."""


class AnswerCounts(Protocol):
    """Counts what was answered."""

    def record_input(self, model: str, truncation: Literal["none", "end", "chunk"]) -> None:
        """An input was answered, and what became of its length."""

    def record_window(self, model: str, source_tokens: int, result: Result) -> None:
        """A source was answered: an input, or a window of one."""


class Counts(AnswerCounts, Protocol):
    """Counts requests, too, and shows what it has counted."""

    def ongoing(self, task: Task, model: str, protocol: str) -> AbstractContextManager[None]:
        """Counts a request as being answered, as long as the context lasts."""

    def record_request(self, task: Task, model: str, protocol: str, outcome: str, seconds: float) -> None:
        """The end of a request; `outcome` is ok, cancelled, or an error code."""

    def page(self) -> bytes:
        """Everything that was counted."""


class Uncounted:
    """Counts nothing."""

    def record_input(self, model: str, truncation: Literal["none", "end", "chunk"]) -> None:
        pass

    def record_window(self, model: str, source_tokens: int, result: Result) -> None:
        pass
