"""What a command is told of an input, by a server or by a model here."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from quant.card import Task
from serving.clients.inputs import Input

OF_ONE_INPUT = ("too_long", "empty_text")
"""Codes of errors that an input has for itself, so that it can be skipped."""

MODEL_KEYS = ("name", "scheme", "layers", "size_bytes")
"""What tells a model from another of the same name."""


@dataclass(frozen=True)
class Answered:
    """An output, and of an input's what there is beside it."""

    text: str
    generated_tokens: int
    score: float | None
    unknown_tokens: int = 0
    seed: int | None = None
    sequences: tuple[Answered, ...] = ()
    """All outputs, where there are several."""


@dataclass(frozen=True)
class Refusal:
    """What there is against one input."""

    code: str
    message: str


Answer = Answered | Refusal | None
"""Of one input; nothing of an empty one."""
Batch = Sequence[tuple[Input, Answer]]


class Refused(Exception):
    """An input that there is something against; `place` says which, where it is known."""

    def __init__(self, place: str | None, error: Exception | str) -> None:
        super().__init__(f"{place}: {error}" if place else str(error))


class Answering(Protocol):
    """Who answers, made for one command."""

    def answers(self, inputs: Iterable[Input], skip: bool) -> Generator[Batch]:
        """Inputs with their answers in their order, some at a time. With `skip`, one that is at fault has its Refusal.

        Raises Refused, and whatever `inputs` raises, when all inputs before were answered.
        """

    def stream(self, given: Input) -> Generator[str | Answered]:
        """The output in parts, and the whole of it at last."""

    def model(self, task: Task) -> dict[str, Any] | str | None:
        """What tells the model that answers from another of the same name."""

    def close(self) -> None:
        """Answer no more."""
