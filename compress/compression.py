"""`dqbart compress`, from teacher to artifact: load, build the student, train, keep the best, pack."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import PreTrainedModel, set_seed

from compress.calibrating import (
    AS_USUAL,
    RECORDS,
    Calibrating,
    CalibrationInterrupted,
    CalibrationPlan,
    Sources,
    clear,
    is_tuned,
    is_wanted,
)
from compress.calibration.calibration import Mapped, expect_calibrated
from compress.data.encoded import Encoded
from compress.data.text_format import Example
from compress.manifest import Manifest
from compress.model.quantized_modules import (
    COMPUTED,
    WeightScales,
    full_precision_weights,
    quantize_modules,
)
from compress.model.student import build_student, spaced_layers
from compress.model.teacher import Teacher
from compress.model_card import write_model_card
from compress.packing import Packing
from compress.scoring.decoder import Decoder, PlainDecoder
from compress.scoring.decoding import DecodingSettings
from compress.scoring.evaluation import Evaluation, evaluate
from compress.structuring import NO_GOALS, StructureGoals, StructureSearch
from compress.training.group import Alone, Group
from compress.training.loop import Trainer, TrainingSettings
from compress.training.losses import LayerMap
from compress.training.observers import LOG_ONLY, Observation
from compress.training.on_policy import Ask
from compress.training.origin import origin
from compress.training.progress import advancing
from compress.training.run import EXIT_INTERRUPTED, TrainingRun
from compress.training.shared_examples import shared_examples
from quant.artifact import is_artifact
from quant.scheme import Layers, Scheme
from quant.structure import UNIFORM
from quant.whole_files import save_tensors

Load = Callable[[], Sequence[Example]]
"""Reads the examples of a split."""

OpenStudent = Callable[[Path, PreTrainedModel, int], AbstractContextManager[Decoder]]
"""What decodes a student in validation: given the folder that it is packed in, itself, and how many padded tokens times
beams `generate` may take in a batch."""


WriteOutputs = Callable[[Path, Sequence[Ask], torch.device], list[list[int]]]
"""What has a student write, given the folder that it is packed in and the device that it is trained on."""


@dataclass(frozen=True)
class Plan:
    """What to make of the teacher; everything here and in the training settings decides the result."""

    layers: Layers
    single_layer: str
    scheme: Scheme | None
    """None trains a student in full precision, which is saved as a plain checkpoint."""
    training: TrainingSettings
    decoding: DecodingSettings
    max_target_tokens: int
    scales: WeightScales = COMPUTED
    structure: StructureGoals = NO_GOALS
    calibration: CalibrationPlan = AS_USUAL


class Compression:
    """One run: teacher and data in, artifact and training state out."""

    def __init__(
        self,
        teacher: Teacher,
        plan: Plan,
        output: Path,
        device: torch.device,
        console: Console,
        group: Group | None = None,
        flags: Mapping[str, Any] | None = None,
        observation: Observation = LOG_ONLY,
        open_student: OpenStudent | None = None,
        recipe: Mapping[str, Any] | None = None,
        calibration_sources: Sources | None = None,
        write_outputs: WriteOutputs | None = None,
    ) -> None:
        """`flags` and `recipe`, what the name of a recipe among them stands for, are for the manifest.

        Without `open_student` a student is validated as a plain one is, by `generate`; without `calibration_sources` none is
        calibrated, and without `write_outputs` none is trained on its own outputs.
        """
        self.group: Group = group or Alone()
        self.flags = flags or {}
        self.recipe = recipe or {}
        self.observation = observation
        self._open_student = open_student
        self._calibration_sources = calibration_sources
        self._write_outputs = write_outputs
        self._says_how = True
        self.teacher = teacher
        self.plan = plan
        self.output = output
        self.console = console
        self.structure = UNIFORM
        set_seed(plan.training.seed)
        self.student = build_student(teacher.model, plan.layers, plan.single_layer)
        self.student.to(device)
        teacher.model.to(device)
        self._packing = Packing(self.student, teacher, plan.scheme, plan.decoding)

    def run(self, train: Load, valid: Load, resume: bool) -> int:
        """Returns the exit code: 0 when trained to the end, 130 when interrupted (and saved).

        Texts are read by rank 0 alone, and those to train on are in memory until they are encoded.
        """
        run = self._training_run()
        run.check(resume)
        self._packing.check()
        scored = valid() if self.group.rank == 0 else []
        folder = self.output / "training" / "examples"
        with shared_examples(folder, lambda: self._encoded(train(), scored, run), self.group) as encoded:
            if self.group.rank == 0:
                self._summarize("train", encoded)
                self._summarize("valid", self.teacher.text_format.encode(scored, self.plan.max_target_tokens))
            return self._train(encoded, scored, run)

    def _encoded(self, train: Sequence[Example], valid: Sequence[Example], run: TrainingRun) -> Iterator[Encoded]:
        seed, device = self.plan.training.seed, self.student.device
        known = origin("compress", self.flags, seed, device, self.teacher, train, valid)
        run.origin = {**known, "recipe": dict(self.recipe)}
        with advancing(self.console, "encoding", len(train)) as advance:
            yield from self.teacher.text_format.encode_all(train, self.plan.max_target_tokens, advance)

    def _train(self, encoded: Sequence[Encoded], valid: Sequence[Example], run: TrainingRun) -> int:
        layers = self._quantize(encoded, run)
        try:
            self._calibrate(layers, encoded, run)
        except CalibrationInterrupted:
            self.console.print("interrupted in the calibration, saved; continue with --resume")
            return EXIT_INTERRUPTED
        trainer = Trainer(
            self.student,
            self.teacher.model,
            layers,
            encoded,
            self.plan.training,
            group=self.group,
            bad_batches=self._bad_batches,
            write=self._write if self._write_outputs else None,
        )
        if trainer.pace.finished:
            if self.group.rank == 0:
                self.pack(run.manifest)
                clear(self.output)
            made = "saved in full precision" if self.plan.scheme is None else "packed"
            self.console.print(f"{made} without training (--max-steps 0)")
            return 0

        def validate(advance: Callable[[int], None]) -> tuple[Mapping[str, float], float]:
            evaluation = self._validate(valid, advance)
            if evaluation.warning:
                self.console.print(evaluation.warning, markup=False, highlight=False, soft_wrap=True)
            return evaluation.scores.values, evaluation.scores.selected

        def keep_best(step: int) -> None:
            self.pack(run.manifest)
            save_tensors(
                self.output / "training" / "best.safetensors", full_precision_weights(self.student), {"step": str(step)}
            )

        code = run.train(trainer, len(valid), validate, keep_best)
        if self.group.rank == 0:
            clear(self.output)
        if self.group.rank == 0 and is_artifact(self.output):
            write_model_card(self.output)  # with the manifest as it is at the end
        return code

    def pack(self, manifest: Manifest) -> None:
        """Write the student as it is: the artifact, in full precision a plain checkpoint. Scores of what was there go."""
        self._packing.keep(self.output, self.structure, manifest)

    @property
    def _bad_batches(self) -> Path:
        return self.output / "training" / "bad_batch"

    def _summarize(self, split: str, encoded: Sequence[Encoded]) -> None:
        self.console.print(self.teacher.text_format.summary(split, encoded, self.plan.max_target_tokens), soft_wrap=True)

    def _quantize(self, encoded: Sequence[Encoded], run: TrainingRun) -> LayerMap:
        """Make the student what it is trained and packed as; returns what of the teacher it is compared with."""
        plan, architecture = self.plan, self.teacher.architecture
        layers = LayerMap(
            spaced_layers(architecture.encoder_layers, plan.layers.encoder, plan.single_layer),
            spaced_layers(architecture.decoder_layers, plan.layers.decoder, plan.single_layer),
        )
        if plan.scheme is None:
            return layers
        search = StructureSearch(
            goals=plan.structure,
            scheme=plan.scheme,
            teacher_bytes=self.teacher.text_format.card.teacher_bytes,
            examples=encoded,
            training=plan.training,
            output=self.output,
            console=self.console,
            clip=plan.scales.bound,
            ternary=plan.scales.ternary,
            compensates=self._made_good()[0],
        )
        found = search.structure(self.student, self.teacher.model, layers, self.group, run.found)
        run.found, self.structure = {**run.found, **found.to_dict()}, found.structure
        quantize_modules(self.student, plan.scheme, self.structure, plan.scales)
        return replace(layers, kept_heads=found.kept_heads)

    def _made_good(self) -> tuple[bool, bool]:
        """Whether the student is calibrated, and whether it is tuned. Raises CalibrationError."""
        plan, layers = self.plan, self.teacher.architecture.layers
        steps, dropped = plan.training.max_steps != 0, str(plan.layers) != str(layers)
        calibrated = self._calibration_sources is not None and is_wanted(
            plan.calibration, steps, dropped, plan.scheme is not None
        )
        return calibrated, is_tuned(plan.calibration, calibrated, steps, dropped, plan.scheme)

    def _calibrate(self, layers: LayerMap, encoded: Sequence[Encoded], run: TrainingRun) -> None:
        """And tune, where these are wanted; both are told in the manifest and kept in the state.

        Raises CalibrationInterrupted.
        """
        plan = self.plan
        calibrated, tuned = self._made_good()
        if not (calibrated or tuned):
            return
        if run.resumed:
            expect_calibrated(self.student)
        else:
            found = Calibrating(
                plan=plan.calibration,
                sources=self._calibration_sources if calibrated else None,
                tuned=tuned,
                teacher=self.teacher,
                layers=Mapped(layers.encoder, layers.decoder, layers.kept_heads),
                output=self.output,
                console=self.console,
                group=self.group,
                training=plan.training,
                max_target_tokens=plan.max_target_tokens,
            ).run(self.student, encoded, run.plan)
            run.found = {**run.found, **found}
        run.origin = {**run.origin, **{name: run.found[name] for name in RECORDS if name in run.found}}

    def _validate(self, valid: Sequence[Example], advance: Callable[[int], None]) -> Evaluation:
        with self._decoder() as decoder:
            if self._says_how:
                self._says_how = False
                texts = "texts whole" if decoder.reading == "whole" else "texts sentence by sentence"
                self.console.print(f"validated by {decoder.decoded_by}; {texts}", highlight=False, soft_wrap=True)
            return evaluate(decoder, valid, advance)

    @contextmanager
    def _decoder(self) -> Iterator[Decoder]:
        """The student as it is, packed where it will be."""
        tokens = 2 * self.plan.training.batch_tokens
        if self.plan.scheme is None or self._open_student is None:
            yield PlainDecoder(self.student, self.teacher.text_format, self.plan.decoding, tokens)
            return
        with (
            self._packed("validated") as folder,
            self._open_student(folder, self.student, tokens) as decoder,
        ):
            yield decoder

    def _write(self, asks: Sequence[Ask]) -> list[list[int]]:
        """Outputs of the student as it is."""
        assert self.plan.scheme is not None
        assert self._write_outputs is not None
        most = min(self.plan.max_target_tokens, self.teacher.architecture.max_position_embeddings - 1)
        asks = [ask._replace(most_tokens=min(ask.most_tokens, most)) for ask in asks]
        with self._packed("writing") as folder:
            return self._write_outputs(folder, asks, self.student.device)

    @contextmanager
    def _packed(self, name: str) -> Iterator[Path]:
        """A folder with the student as it is, for a while."""
        folder = self.output / "training" / name
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        try:
            self._packing.write_artifact(folder, self.structure)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _training_run(self) -> TrainingRun:
        plan = {**asdict(self.plan), "layers": str(self.plan.layers), "scheme": str(self.plan.scheme or "full")}
        return TrainingRun(self.output, {**plan, "teacher": self.teacher.digest}, self.console, self.observation)
