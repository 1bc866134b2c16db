"""How a run went: when, how many steps, the best of them, how fast. An observer, whose record goes into the saved state too,
so that a run that was interrupted counts as one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from compress.training.loop import StepReport


class Course:
    """Counts tokens and seconds of training, validations and saving left out, and those of the processor, in all that this
    process and the ones that it waited for did. Times are in UTC.

    Steps between the last report and an interruption count as steps, but not as tokens and seconds.
    """

    def __init__(self) -> None:
        self._started = _now()
        self._finished: str | None = None
        self._step = self._tokens = 0
        self._seconds = 0.0
        self._cpu_before = -_cpu_seconds()
        self._best: dict[str, Any] | None = None

    def report(self, report: StepReport) -> None:
        self._step = report.step
        self._tokens += report.tokens
        self._seconds += report.seconds

    def best(self, step: int, scores: Mapping[str, float]) -> None:
        """A validation was the best so far; told before the model is written, which `validated` is not."""
        self._step = max(self._step, step)
        self._best = {"step": step, "scores": {name: round(value, 3) for name, value in scores.items()}}

    def validated(self, step: int, scores: Mapping[str, float], best: bool) -> None:
        """Nothing more to note."""

    def finish(self) -> None:
        """The last step is done."""
        self._finished = _now()

    def close(self) -> None:
        """Nothing is left open."""

    def record(self) -> dict[str, Any]:
        """As JSON: the part of the manifest that changes, and what `resume` takes."""
        return {
            "started": self._started,
            "finished": self._finished,
            "steps": self._step,
            "best": self._best,
            "tokens": self._tokens,
            "seconds": round(self._seconds, 1),
            "cpu_seconds": round(self._cpu_before + _cpu_seconds(), 1),
            "tokens_per_second": round(self._tokens / self._seconds) if self._seconds else None,
        }

    def resume(self, record: Mapping[str, Any]) -> None:
        """Go on from the record of the interrupted part."""
        self._started, self._step, self._best = record["started"], record["steps"], record["best"]
        self._tokens, self._seconds = record["tokens"], record["seconds"]
        self._cpu_before += record["cpu_seconds"]


def _cpu_seconds() -> float:
    """Of this process since its start, and of its children."""
    return sum(os.times()[:4])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
