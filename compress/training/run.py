"""One training run and its folder: who watches, validations, the best so far, saving and resuming.

OUTPUT/manifest.json           what the run was given, and how it went
OUTPUT/training/last/          the state that --resume continues from
OUTPUT/training/log.jsonl      every report and validation
OUTPUT/training/tensorboard/   the same for TensorBoard
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from compress.manifest import Manifest, write_manifest
from compress.training.course import Course
from compress.training.earlier_run import CALIBRATION, ResumeError, calibration_plan, changes, refuse_earlier_run
from compress.training.loop import Trainer
from compress.training.observers import LOG_ONLY, Observation, observers
from compress.training.precision import bf16_by_device, faster_at_bf16
from compress.training.progress import TrainingProgress
from compress.training.state import TrainingState
from quant.whole_files import latest

EXIT_INTERRUPTED = 130

Validate = Callable[[Callable[[int], None]], tuple[Mapping[str, float], float]]
"""Given what to call with each number of examples finished: the scores, and the one (higher is better) that selects."""


class TrainingRun:
    """Trains in a folder. `plan` is all that decides the result, as JSON: a resumed run must have the same."""

    def __init__(
        self,
        output: Path,
        plan: Mapping[str, Any],
        console: Console,
        observation: Observation = LOG_ONLY,
    ) -> None:
        self.output = output
        self.console = console
        self.origin: Mapping[str, Any] = {}
        """The part of the manifest that is known before the first step (`compress.training.origin`)."""
        self.best: float | None = None
        self.found: Mapping[str, Any] = {}
        """What was found out before the first step, as JSON: kept in the state; `check` of a resumed run brings it back."""
        self._saved: tuple[TrainingState, dict[str, Any]] | None = None
        self.plan: dict[str, Any] = json.loads(json.dumps(plan))
        self._observation = observation
        self._course = Course()
        self._training = output / "training"
        self._last = self._training / "last"

    @property
    def resumed(self) -> bool:
        """Whether steps of an earlier part of the run are there."""
        return self._saved is not None

    @property
    def manifest(self) -> Manifest:
        """As things stand now."""
        return {**self.origin, **self._course.record()}

    def check(self, resume: bool) -> None:
        """Raises ResumeError where an earlier run lies in the folder and is not to be resumed, or the other way round."""
        if not resume:
            refuse_earlier_run(self.output)
            return
        if not latest(self._last).exists() and (calibrated := calibration_plan(self.output)) is not None:
            self._check_plan(self.output / CALIBRATION, calibrated)
            return
        self._saved = self._load()
        self.found = self._saved[1]["found"]

    def train(self, trainer: Trainer, examples: int, validate: Validate, keep_best: Callable[[int], None]) -> int:
        """Returns the exit code: 0 when trained to the end, 130 when interrupted (and saved). `check` comes first.

        `examples` is how many a validation goes through; `keep_best` is called with the step of each new best. Of a group of
        processes, only rank 0 shows and writes anything.
        """
        self._resume(trainer)
        trainer.bf16 = self._bf16(trainer)
        watching = []
        if trainer.group.rank == 0:
            shown = observers(self._training, trainer.step, trainer.steps, self._observation, self.console)
            watching = [self._course, *shown]
        with TrainingProgress(trainer.steps, trainer.step, self.console, watching) as progress:

            def validated(step: int) -> None:
                with progress.validating(examples) as advance:
                    scores, selected = validate(advance)
                best = self.best is None or selected > self.best
                if best:
                    self.best = selected
                    self._course.best(step, scores)
                    keep_best(step)
                progress.validated(step, scores, best)

            def save() -> None:
                record = {"best": self.best, "course": self._course.record(), "plan": self.plan, "found": dict(self.found)}
                trainer.state().save(self._last, record)

            finished = trainer.train(validated, save, progress.report)
        if finished:
            self._course.finish()
        if self.best is not None and trainer.group.rank == 0:
            write_manifest(self.output, self.manifest)
        if not finished:
            self.console.print(f"interrupted at step {trainer.step}, saved; continue with --resume")
            return EXIT_INTERRUPTED
        return 0

    def _bf16(self, trainer: Trainer) -> bool:
        """As asked for; of `auto`, as an earlier part of the run found out, or as this one does."""
        known = bf16_by_device(trainer.settings.bf16, trainer.student.device)
        if known is None:
            known = self.found.get("bf16")
        if known is None:
            known = trainer.group.from_first(lambda: faster_at_bf16(trainer, self.console.print))
            self.found = {**self.found, "bf16": known}
        return known

    def _load(self) -> tuple[TrainingState, dict[str, Any]]:
        state, record = TrainingState.load(self._last)
        self._check_plan(self._last, record["plan"])
        return state, record

    def _check_plan(self, place: Path, saved: Mapping[str, Any]) -> None:
        if saved != self.plan:
            differing = "; ".join(changes(saved, self.plan))
            raise ResumeError(f"{place} is of a run with other settings: {differing}")

    def _resume(self, trainer: Trainer) -> None:
        if self._saved is None:
            return
        state, record = self._saved
        self._saved = None  # the trainer has it from now on
        trainer.resume(state)
        self.best = record["best"]
        self._course.resume(record["course"])
        planned = "" if trainer.pace.limit else f" of {trainer.steps}"
        self.console.print(f"resumed at step {trainer.step}{planned}")
