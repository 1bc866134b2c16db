"""The calibration of a run: which texts, what the teacher writes for them, going on where an interrupted one was.

OUTPUT/training/calibration/    while it goes on: its plan, its examples, the parts that are done; gone when the run is
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from transformers import PreTrainedModel

from compress.calibration.calibration import Mapped, calibrate, parts_of
from compress.calibration.saved import Saved
from compress.calibration.tuning import TuningSettings, tune
from compress.data.encoded import Encoded, EncodedFiles, in_chunks, write_encoded
from compress.data.text_format import Example
from compress.errors import CompressError
from compress.manifest import told
from compress.model.teacher import Teacher
from compress.training.earlier_run import CALIBRATION
from compress.training.group import Group
from compress.training.loop import TrainingSettings
from compress.training.progress import advancing
from quant.scheme import WEIGHT_BITS, Scheme

EXAMPLES = 2048
RECORDS = ("calibration", "tuning")
"""Of a manifest."""
TUNE_STEPS = 60
TuneScales = Literal["auto", "on", "off"]
NUMBERS = 2**24
"""Tokens times width of a stream of states, at most, where no number of examples is asked for: 64 MiB of float32."""
_CHUNK = 64

Label = Callable[[Teacher, Path, Sequence[Example], Callable[[int], None]], Sequence[str]]
"""The teacher's outputs for sources: given a folder for what that needs, and what to call with numbers of examples."""


@dataclass(frozen=True)
class CalibrationPlan:
    """What was asked for; the default is what a run without steps does."""

    asked: bool | None = None
    """None: where there are no steps of training, and something that calibration makes good."""
    examples: int | None = None
    """None: 2,048, or as many as fit in memory."""
    tune_scales: TuneScales = "auto"
    """Afterwards, with codes fixed; auto: where it pays, which is with embeddings at 2 bits and with dropped layers."""
    tune_steps: int = TUNE_STEPS


AS_USUAL = CalibrationPlan()


def is_tuned(plan: CalibrationPlan, calibrated: bool, steps: bool, dropped: bool, scheme: Scheme | None) -> bool:
    """Whether to tune the scales of a student; `steps` says that training follows. Raises CalibrationError.

    Of itself, that is done where no training does it as well.
    """
    if plan.tune_scales == "on" and scheme is None:
        raise CalibrationError("tune_scales is on: a student in full precision has no scales to tune")
    if plan.tune_scales != "auto" or scheme is None:
        return plan.tune_scales == "on"
    return calibrated and not steps and (dropped or scheme.embedding_bits == min(WEIGHT_BITS))


class CalibrationError(CompressError):
    """A calibration that cannot be made of what is there."""


class CalibrationInterrupted(Exception):
    """Ctrl-C; what was done is saved."""


@dataclass(frozen=True)
class Sources:
    """Where a calibration has its examples from."""

    load: Callable[[], Sequence[Example]]
    """The texts; their targets are not looked at."""
    label: Label


@dataclass(frozen=True)
class Calibrating:
    """Of one run."""

    plan: CalibrationPlan
    sources: Sources | None
    """None: the student is not calibrated."""
    tuned: bool
    teacher: Teacher
    layers: Mapped
    output: Path
    console: Console
    group: Group
    training: TrainingSettings
    max_target_tokens: int

    def run(
        self, student: PreTrainedModel, encoded: Sequence[Encoded], run_plan: Mapping[str, Any]
    ) -> dict[str, Mapping[str, Any]]:
        """Calibrate the student and tune it, as asked for, in place; returns the records by the names in RECORDS.

        Raises CalibrationInterrupted, with what was calibrated saved. `encoded` is what a student is tuned on that was not
        calibrated; `run_plan` is all that decides the result.
        """
        found: dict[str, Mapping[str, Any]] = {}
        if self.sources is not None:
            record = self._calibrate(student, run_plan)
            self.console.print(f"calibrated on {told(record)}", highlight=False, soft_wrap=True)
            encoded, found["calibration"] = EncodedFiles(self.output / CALIBRATION / "examples"), record
        if self.tuned:
            found["tuning"] = self._tune(student, encoded)
        return found

    def _tune(self, student: PreTrainedModel, encoded: Sequence[Encoded]) -> Mapping[str, Any]:
        settings = TuningSettings(self.plan.tune_steps, bf16=self.training.bf16, seed=self.training.seed)
        try:
            tune(student, self.teacher.model, encoded, settings, self.console, self.group)
        except KeyboardInterrupt:
            if self.sources is None:
                raise
            raise CalibrationInterrupted from None
        return {"steps": self.plan.tune_steps}

    def _calibrate(self, student: PreTrainedModel, run_plan: Mapping[str, Any]) -> dict[str, Any]:
        """The first of a group does it, and the others take it over from its files."""
        saved = Saved(self.output / CALIBRATION)
        record = self.group.from_first(lambda: self._calibrated(student, saved, run_plan))
        if self.group.rank:
            examples = EncodedFiles(saved.folder / "examples")
            calibrate(student, self.teacher.model, self.layers, examples[:1], saved)
        self.group.from_first(lambda: None)  # all have read the files
        return record

    def _calibrated(self, student: PreTrainedModel, saved: Saved, run_plan: Mapping[str, Any]) -> dict[str, Any]:
        if not (saved.folder / "examples").exists():
            write_encoded(saved.folder / "examples", self._examples())
            saved.begin(run_plan)
        examples = EncodedFiles(saved.folder / "examples")
        with (
            self.group.interruptible() as interrupted,
            advancing(self.console, "calibrating", parts_of(student)) as advance,
        ):

            def advanced(count: int) -> None:
                advance(count)
                if self.group.size == 1 and interrupted():
                    raise CalibrationInterrupted

            return calibrate(student, self.teacher.model, self.layers, examples, saved, advanced)

    def _examples(self) -> list[Encoded]:
        """The texts that are drawn, with what the teacher writes for them."""
        assert self.sources is not None, "calibrated"
        chosen = self._chosen(self.sources.load())
        folder = self.output / CALIBRATION / "labelling"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with advancing(self.console, "the teacher writes", len(chosen)) as advance:
                written = self.sources.label(self.teacher, folder, chosen, advance)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        answered = [replace(example, target=text) for example, text in zip(chosen, written, strict=True)]
        # Where all are empty, as an untrained teacher's may be, what begins and ends them is calibrated on.
        labelled = [example for example in answered if example.target] or answered
        return self.teacher.text_format.encode(labelled, self.max_target_tokens)

    def _chosen(self, examples: Sequence[Example]) -> list[Example]:
        """Drawn by the seed: as many as asked for, or as fit into memory."""
        order = list(range(len(examples)))
        random.Random(f"{self.training.seed}/calibration").shuffle(order)
        drawn = [examples[index] for index in order[: self.plan.examples or EXAMPLES]]
        if self.plan.examples is not None:
            return drawn
        most = NUMBERS // self.teacher.architecture.d_model
        chosen: list[Example] = []
        tokens = 0
        for chunk in in_chunks(len(drawn), _CHUNK):
            for example, encoded in zip(drawn[chunk], self.teacher.text_format.encode(drawn[chunk], 2), strict=True):
                tokens += len(encoded.source_ids)
                if chosen and tokens > most:
                    return chosen
                chosen.append(example)
        return chosen


def is_wanted(plan: CalibrationPlan, steps: bool, dropped: bool, quantized: bool) -> bool:
    """Whether to calibrate a student that is to be trained for any steps, has layers dropped, or is quantized.

    Raises CalibrationError where it is asked for and there is nothing to do.
    """
    worth = dropped or quantized
    if plan.asked and not worth:
        raise CalibrationError("calibrate: nothing to make good in a student with all layers and in full precision")
    return not steps and worth if plan.asked is None else plan.asked


def clear(output: Path) -> None:
    """Remove what an interrupted calibration would go on from."""
    shutil.rmtree(output / CALIBRATION, ignore_errors=True)
    with suppress(OSError):
        (output / CALIBRATION).parent.rmdir()
