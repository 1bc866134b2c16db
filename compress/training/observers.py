"""Who watches a run: each observer is told the same reports and scores, and shows or keeps them its own way.

An observer never changes what is trained, so its settings are no part of a run's plan and may differ when a run is resumed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from compress.training.loop import StepReport


class Observer(Protocol):
    """Told everything in the order in which it happens, from one thread."""

    def report(self, report: StepReport) -> None:
        """Means since the last report."""

    def validated(self, step: int, scores: Mapping[str, float], best: bool) -> None:
        """Scores by name; `best` says that the artifact was written anew."""

    def close(self) -> None:
        """The run is over, finished or not."""


@dataclass(frozen=True)
class Observation:
    """What a run shows besides the terminal and the log."""

    tensorboard: bool = True
    """Event files in OUTPUT/training/tensorboard."""
    metrics_port: int | None = None
    """Prometheus metrics over HTTP; 0: any free port; None: no server."""


LOG_ONLY = Observation(tensorboard=False)


class LogFile:
    """A JSON line for each report and each validation."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def report(self, report: StepReport) -> None:
        speed = {"learning_rate": report.learning_rate, "tokens_per_second": round(report.tokens_per_second)}
        self._write({"step": report.step, **report.losses, **speed})

    def validated(self, step: int, scores: Mapping[str, float], best: bool) -> None:
        self._write({"step": step, "validation": {name: round(value, 3) for name, value in scores.items()}, "best": best})

    def close(self) -> None:
        """Nothing is left open."""

    def _write(self, entry: Mapping[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def observers(folder: Path, start: int, steps: int, observation: Observation, console: Console) -> list[Observer]:
    """Those of a run from step `start` of `steps` in OUTPUT/training. Raises MetricsPortError."""
    watching: list[Observer] = []
    if observation.metrics_port is not None:
        from compress.training.prometheus import Prometheus

        metrics = Prometheus(observation.metrics_port, start, steps)
        console.print(f"metrics: http://localhost:{metrics.port}/metrics", highlight=False)
        watching.append(metrics)
    if observation.tensorboard:
        from compress.training.tensorboard import TensorBoard

        watching.append(TensorBoard(folder / "tensorboard", start))
    return [*watching, LogFile(folder / "log.jsonl")]
