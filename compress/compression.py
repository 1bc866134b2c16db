"""`dqbart compress`, from teacher to artifact: load, build the student, train, keep the best, pack."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save_file
from transformers import set_seed

from compress.data.text_format import Encoded, Example
from compress.model.quantized_modules import full_precision_weights, quantize_modules
from compress.model.student import build_student, spaced_layers
from compress.model.teacher import Teacher
from compress.model_card import write_model_card
from compress.scoring.decoding import DecodingSettings
from compress.scoring.evaluation import Evaluation, evaluate
from compress.scoring.evaluation_file import EVALUATION_FILE
from compress.training.loop import Trainer, TrainingSettings
from compress.training.losses import LayerMap
from compress.training.progress import TrainingProgress
from compress.training.state import ResumeError, TrainingState
from quant.artifact import write_artifact
from quant.scheme import Layers, Scheme

EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Plan:
    """What to make of the teacher; everything here and in the training settings decides the result."""

    layers: Layers
    single_layer: str
    scheme: Scheme
    training: TrainingSettings
    decoding: DecodingSettings
    max_target_tokens: int


class Compression:
    """One run: teacher and data in, artifact and training state out."""

    def __init__(self, teacher: Teacher, plan: Plan, output: Path, device: torch.device, console: Console) -> None:
        self.teacher = teacher
        self.plan = plan
        self.output = output
        self.console = console
        self.best: float | None = None
        set_seed(plan.training.seed)
        self.student = build_student(teacher.model, plan.layers, plan.single_layer)
        quantize_modules(self.student, plan.scheme)
        self.student.to(device)
        teacher.model.to(device)

    def run(self, train: Sequence[Example], valid: Sequence[Example], resume: bool) -> int:
        """Returns the exit code: 0 when trained to the end, 130 when interrupted (and saved)."""
        if self._last.exists() and not resume:
            raise ResumeError(f"{self.output} holds an earlier run: --resume continues it, another --output starts anew")
        encoded = self._encode(train, "train")
        trainer = Trainer(self.student, self.teacher.model, self._layer_map(), encoded, self.plan.training)
        if resume:
            self._resume(trainer)
        if trainer.steps == 0:
            self.pack()
            self.console.print("packed without training (--max-steps 0)")
            return 0
        with TrainingProgress(trainer.steps, trainer.step, self.output / "training" / "log.jsonl", self.console) as progress:

            def validate(step: int) -> None:
                with progress.validating(len(valid)) as advance:
                    evaluation = self._validate(valid, advance)
                progress.validated(step, evaluation.scores.values, self._keep_if_best(evaluation, step))

            def save() -> None:
                trainer.state().save(self._last, self._record())

            finished = trainer.train(validate, save, progress.report)
        if not finished:
            self.console.print(f"interrupted at step {trainer.step}, saved; continue with --resume")
            return EXIT_INTERRUPTED
        return 0

    def pack(self) -> None:
        """Write the student as it is now as the artifact; scores of what stood there before go."""
        (self.output / EVALUATION_FILE).unlink(missing_ok=True)
        generation = self.plan.decoding.resolved(self.student).to_diff_dict()
        generation.pop("transformers_version", None)
        config = {key: value for key, value in self.student.config.to_dict().items() if value is not None}
        config.pop("_name_or_path", None)  # where the teacher lay on this machine
        weights = full_precision_weights(self.student)
        card = self.teacher.text_format.card
        write_artifact(self.output, weights, config, generation, self.plan.scheme, self.teacher.digest, card)
        self.teacher.text_format.tokenizer.save_pretrained(self.output)
        write_model_card(self.output)

    @property
    def _last(self) -> Path:
        return self.output / "training" / "last"

    def _encode(self, examples: Sequence[Example], split: str) -> list[Encoded]:
        encoded = self.teacher.text_format.encode(examples, self.plan.max_target_tokens)
        truncated = sum(example.truncated for example in encoded)
        tokens = sum(len(example.source_ids) + len(example.label_ids) for example in encoded)
        self.console.print(f"{split}: {len(encoded):,} examples, {tokens:,} tokens, {truncated:,} truncated")
        return encoded

    def _layer_map(self) -> LayerMap:
        teacher, layers = self.teacher.architecture, self.plan.layers
        return LayerMap(
            spaced_layers(teacher.encoder_layers, layers.encoder, self.plan.single_layer),
            spaced_layers(teacher.decoder_layers, layers.decoder, self.plan.single_layer),
        )

    def _validate(self, valid: Sequence[Example], advance: Any) -> Evaluation:
        tokens = 2 * self.plan.training.batch_tokens
        return evaluate(
            self.student, self.teacher.text_format, valid, self.plan.decoding, tokens, self.plan.max_target_tokens, advance
        )

    def _keep_if_best(self, evaluation: Evaluation, step: int) -> bool:
        score = evaluation.scores.selected
        if self.best is not None and score <= self.best:
            return False
        self.best = score
        self.pack()
        best = {name: tensor.detach().cpu().contiguous() for name, tensor in full_precision_weights(self.student).items()}
        save_file(best, self.output / "training" / "best.safetensors", metadata={"step": str(step)})
        return True

    def _record(self) -> dict[str, Any]:
        return {"best": self.best, "plan": self._plan_record()}

    def _plan_record(self) -> dict[str, Any]:
        plan = {**asdict(self.plan), "layers": str(self.plan.layers), "scheme": str(self.plan.scheme)}
        record: dict[str, Any] = json.loads(json.dumps({**plan, "teacher": self.teacher.digest}))
        return record

    def _resume(self, trainer: Trainer) -> None:
        state, record = TrainingState.load(self._last)
        saved, wanted = record["plan"], self._plan_record()
        if saved != wanted:
            differing = [key for key in wanted if saved.get(key) != wanted[key]]
            changes = "; ".join(f"{key} was {saved.get(key)}, is {wanted[key]}" for key in differing)
            raise ResumeError(f"{self._last} is of a run with other settings: {changes}")
        trainer.resume(state)
        self.best = record["best"]
        self.console.print(f"resumed at step {trainer.step} of {trainer.steps}")
