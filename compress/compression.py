"""`dqbart compress`, from teacher to artifact: load, build the student, train, keep the best, pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import set_seed

from compress.data.text_format import Encoded, Example
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
from compress.scoring.decoding import DecodingSettings
from compress.scoring.evaluation import Evaluation, evaluate
from compress.structuring import NO_GOALS, StructureGoals, StructureSearch
from compress.training.group import Alone, Group
from compress.training.loop import Trainer, TrainingSettings
from compress.training.losses import LayerMap
from compress.training.observers import LOG_ONLY, Observation
from compress.training.origin import origin
from compress.training.run import TrainingRun
from quant.artifact import is_artifact, write_artifact
from quant.checking import card_faults, weight_faults
from quant.evaluation_file import EVALUATION_FILE
from quant.layout import Architecture, model_layout
from quant.scheme import Layers, Scheme
from quant.structure import UNIFORM
from quant.whole_files import save_tensors, whole_files


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
    ) -> None:
        """`flags` are for the manifest."""
        self.group: Group = group or Alone()
        self.flags = flags or {}
        self.observation = observation
        self.teacher = teacher
        self.plan = plan
        self.output = output
        self.console = console
        self.structure = UNIFORM
        set_seed(plan.training.seed)
        self.student = build_student(teacher.model, plan.layers, plan.single_layer)
        self.student.to(device)
        teacher.model.to(device)

    def run(self, train: Sequence[Example], valid: Sequence[Example], resume: bool) -> int:
        """Returns the exit code: 0 when trained to the end, 130 when interrupted (and saved)."""
        run = self._training_run(train, valid)
        run.check(resume)
        self._check()
        encoded = self._encode(train, "train")
        self._encode(valid, "valid")  # each validation encodes anew; here, what is cut off is shown
        layers = self._quantize(encoded, run)
        trainer = Trainer(
            self.student,
            self.teacher.model,
            layers,
            encoded,
            self.plan.training,
            group=self.group,
            bad_batches=self._bad_batches,
        )
        if trainer.steps == 0:
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
        generation = self.plan.decoding.recorded(self.student, self.teacher.text_format)
        config = {key: value for key, value in self.student.config.to_dict().items() if value is not None}
        config.pop("_name_or_path", None)  # where the teacher lay on this machine
        weights = packable_weights(self.student)
        card = self.teacher.text_format.card
        scheme, structure = self.plan.scheme, self.structure
        write_artifact(self.output, weights, config, generation, scheme, self.teacher.digest, card, structure)
        self.teacher.text_format.tokenizer.save_pretrained(self.output)
        write_manifest(self.output, manifest)
        write_model_card(self.output)

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

    def _encode(self, examples: Sequence[Example], split: str) -> list[Encoded]:
        encoded = self.teacher.text_format.encode(examples, self.plan.max_target_tokens)
        self.console.print(self.teacher.text_format.summary(split, encoded, self.plan.max_target_tokens), soft_wrap=True)
        return encoded

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
        )
        found = search.structure(self.student, self.teacher.model, layers, self.group, run.found)
        run.found, self.structure = found.to_dict(), found.structure
        quantize_modules(self.student, plan.scheme, self.structure, plan.scales)
        return replace(layers, kept_heads=found.kept_heads)

    def _validate(self, valid: Sequence[Example], advance: Any) -> Evaluation:
        tokens = 2 * self.plan.training.batch_tokens
        return evaluate(
            self.student, self.teacher.text_format, valid, self.plan.decoding, tokens, self.plan.max_target_tokens, advance
        )

    def _training_run(self, train: Sequence[Example], valid: Sequence[Example]) -> TrainingRun:
        plan = {**asdict(self.plan), "layers": str(self.plan.layers), "scheme": str(self.plan.scheme or "full")}
        given = origin("compress", self.flags, self.plan.training.seed, self.student.device, self.teacher, train, valid)
        return TrainingRun(self.output, {**plan, "teacher": self.teacher.digest}, self.console, given, self.observation)
