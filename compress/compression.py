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

from compress.data.encoded import Encoded
from compress.data.text_format import Example
from compress.manifest import Manifest, write_manifest
from compress.model.embeddings import save_checkpoint
from compress.model.quantized_modules import (
    COMPUTED,
    WeightScales,
    full_precision_weights,
    packable_weights,
    quantize_modules,
)
from compress.model.servable import check_servable
from compress.model.student import StudentError, build_student, spaced_layers
from compress.model.teacher import Teacher
from compress.model_card import write_model_card
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
from compress.training.run import TrainingRun
from compress.training.shared_examples import shared_examples
from quant.artifact import is_artifact, write_artifact
from quant.checking import card_faults, weight_faults
from quant.evaluation_file import EVALUATION_FILE
from quant.layout import Architecture, model_layout
from quant.scheme import Layers, Scheme
from quant.structure import UNIFORM
from quant.whole_files import save_tensors, whole_files

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
        write_outputs: WriteOutputs | None = None,
    ) -> None:
        """`flags` and `recipe`, what the name of a recipe among them stands for, are for the manifest.

        Without `open_student` a student is validated as a plain one is, by `generate`; without `write_outputs` it is not
        trained on its own outputs.
        """
        self.group: Group = group or Alone()
        self.flags = flags or {}
        self.recipe = recipe or {}
        self.observation = observation
        self._open_student = open_student
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

    def run(self, train: Load, valid: Load, resume: bool) -> int:
        """Returns the exit code: 0 when trained to the end, 130 when interrupted (and saved).

        Texts are read by rank 0 alone, and those to train on are in memory until they are encoded.
        """
        run = self._training_run()
        run.check(resume)
        self._check()
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
        if self.group.rank == 0 and is_artifact(self.output):
            write_model_card(self.output)  # with the manifest as it is at the end
        return code

    def pack(self, manifest: Manifest) -> None:
        """Write the student as it is: the artifact, in full precision a plain checkpoint. Scores of what was there go."""
        (self.output / EVALUATION_FILE).unlink(missing_ok=True)
        if self.plan.scheme is None:
            self.student.generation_config = self.plan.decoding.resolved(self.student, self.teacher.text_format)
            with whole_files(self.output) as partial:
                save_checkpoint(self.student, partial)
                self.teacher.text_format.tokenizer.save_pretrained(partial)
            write_manifest(self.output, manifest)
            return
        self._write_artifact(self.output, self.plan.scheme)
        write_manifest(self.output, manifest)
        write_model_card(self.output)

    def _write_artifact(self, folder: Path, scheme: Scheme) -> None:
        generation = self.plan.decoding.recorded(self.student, self.teacher.text_format)
        config = {key: value for key, value in self.student.config.to_dict().items() if value is not None}
        config.pop("_name_or_path", None)  # where the teacher lay on this machine
        weights = packable_weights(self.student)
        card = self.teacher.text_format.card
        write_artifact(folder, weights, config, generation, scheme, self.teacher.digest, card, self.structure)
        self.teacher.text_format.tokenizer.save_pretrained(folder)

    def _check(self) -> None:
        """That the student can be packed and served, before anything is computed. Raises CompressError, ArtifactError."""
        self.plan.decoding.over(self.student)
        if self.plan.scheme is None:
            return
        check_servable(self.teacher.text_format, self.teacher.architecture.vocab_size)
        architecture = Architecture.from_config(self.student.config.to_dict())
        layout = list(model_layout(architecture, self.plan.scheme))
        faults = weight_faults(architecture, layout, packable_weights(self.student))
        if faults := faults + card_faults(self.teacher.text_format.card, architecture):
            raise StudentError(f"teacher {self.teacher.name} cannot be packed: {'; '.join(faults)}")

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
        )
        found = search.structure(self.student, self.teacher.model, layers, self.group, run.found)
        run.found, self.structure = {**run.found, **found.to_dict()}, found.structure
        quantize_modules(self.student, plan.scheme, self.structure, plan.scales)
        return replace(layers, kept_heads=found.kept_heads)

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
            self._packed("validated", self.plan.scheme) as folder,
            self._open_student(folder, self.student, tokens) as decoder,
        ):
            yield decoder

    def _write(self, asks: Sequence[Ask]) -> list[list[int]]:
        """Outputs of the student as it is."""
        assert self.plan.scheme is not None
        assert self._write_outputs is not None
        most = min(self.plan.max_target_tokens, self.teacher.architecture.max_position_embeddings - 1)
        asks = [ask._replace(most_tokens=min(ask.most_tokens, most)) for ask in asks]
        with self._packed("writing", self.plan.scheme) as folder:
            return self._write_outputs(folder, asks, self.student.device)

    @contextmanager
    def _packed(self, name: str, scheme: Scheme) -> Iterator[Path]:
        """A folder with the student as it is, for a while."""
        folder = self.output / "training" / name
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        try:
            self._write_artifact(folder, scheme)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _training_run(self) -> TrainingRun:
        plan = {**asdict(self.plan), "layers": str(self.plan.layers), "scheme": str(self.plan.scheme or "full")}
        return TrainingRun(self.output, {**plan, "teacher": self.teacher.digest}, self.console, self.observation)
