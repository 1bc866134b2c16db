"""TensorBoard event files of a run: `tensorboard --logdir OUTPUT/training/tensorboard`.

    loss/TERM, learning_rate, tokens_per_second     at every report
    validation/METRIC                               at every validation

A resumed run adds a file of its own to the folder; steps of the earlier one after the resumed state are not shown again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from compress.training.loop import StepReport

_FLUSH_SECONDS = 15


class TensorBoard:
    """An observer that writes event files."""

    def __init__(self, folder: Path, start: int) -> None:
        """`start` is the step that the run begins or continues at."""
        purge = start + 1 if start else None
        self._writer = SummaryWriter(str(folder), purge_step=purge, flush_secs=_FLUSH_SECONDS)

    def report(self, report: StepReport) -> None:
        figures = {f"loss/{term}": value for term, value in report.losses.items()}
        figures |= {"learning_rate": report.learning_rate, "tokens_per_second": report.tokens_per_second}
        self._add(figures, report.step)

    def validated(self, step: int, scores: Mapping[str, float], best: bool) -> None:
        self._add({f"validation/{name}": value for name, value in scores.items()}, step)

    def close(self) -> None:
        self._writer.close()

    def _add(self, figures: Mapping[str, float], step: int) -> None:
        for tag, value in figures.items():
            self._writer.add_scalar(tag, value, step)
