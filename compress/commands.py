"""`dqbart compress | evaluate | inspect`: each flag declared once, with its default and meaning.

This module imports nothing heavy, so that `--help` is quick; the work is imported when a command runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import CliPositionalArg

from dqbart import Command
from quant.card import Task
from quant.scheme import Layers, Scheme

if TYPE_CHECKING:
    from compress.dataset import Fields
    from compress.decoding import DecodingSettings

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class _DataSettings(Command):
    """What `compress` and `evaluate` share: columns, languages, lengths, decoding."""

    source_field: str | None = Field(None, description="column of the source text (default: by task)")
    target_field: str | None = Field(None, description="column of the target text (default: by task)")
    question_field: str | None = Field(None, description="column of the question (default: question)")
    context_field: str | None = Field(None, description="column of the context (default: context)")
    source_language: str | None = Field(None, description="language code of the source column, e.g. de_DE (mBART)")
    target_language: str | None = Field(None, description="language code of the target column, e.g. en_XX (mBART)")
    max_target_tokens: Count = Field(128, description="longer targets are truncated in training, in tokens")
    num_beams: Count | None = Field(None, description="beams in decoding (default: the model's own)")
    length_penalty: float | None = Field(None, description="length penalty in decoding (default: the model's own)")
    max_new_tokens: Count | None = Field(None, description="longest output in tokens (default: the model's own)")
    min_new_tokens: Annotated[int, Field(ge=0)] | None = Field(None, description="shortest output in tokens")
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] | None = Field(None, description="n-grams of this size never repeat")
    device: str = Field("auto", description="cpu, cuda, or auto: cuda where there is one")

    def fields(self) -> Fields:
        from compress.dataset import Fields

        return Fields(self.source_field, self.target_field, self.question_field, self.context_field)

    def decoding(self) -> DecodingSettings:
        from compress.decoding import DecodingSettings

        return DecodingSettings(
            self.num_beams, self.length_penalty, self.max_new_tokens, self.min_new_tokens, self.no_repeat_ngram_size
        )

    def languages(self) -> tuple[str, ...]:
        return tuple(language for language in (self.source_language, self.target_language) if language)


class Compress(_DataSettings):
    """Compress a fine-tuned BART or mBART checkpoint: fewer layers, joint distillation and quantization, packed."""

    teacher: CliPositionalArg[str] = Field(description="folder or hub id of a fine-tuned BART or mBART checkpoint")
    task: Task = Field(description="decides column names, the source template and the metric")
    train: str = Field(description="training data: a .jsonl, .csv or .parquet file, or a hub id NAME[:CONFIG][@SPLIT]")
    valid: str = Field(description="validation data, likewise; the best checkpoint on it is kept")
    output: Path = Field(description="folder of the artifact (and, below it, of the training state)")
    layers: str = Field("6-3", description="encoder and decoder layers of the student, E-D")
    bits: str = Field("2-2-8", description="bits of weights, embeddings and activations, W-E-A; /row or /matrix scales")
    single_layer: Literal["first", "last"] = Field("last", description="the teacher layer that a stack of one layer takes")
    both_directions: bool = Field(False, description="translation: train on each pair both ways")
    source_template: str | None = Field(None, description="text given to the tokenizer, e.g. 'summarize: {source}'")
    max_source_tokens: Count | None = Field(None, description="longer sources are truncated (default: all positions)")
    epochs: Annotated[float, Field(gt=0)] = Field(20.0, description="passes over the training data")
    max_steps: Annotated[int, Field(ge=0)] | None = Field(
        None, description="optimizer steps, in place of epochs; 0: only pack"
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(3e-5, description="peak learning rate of AdamW")
    schedule: Literal["linear", "cosine"] = Field("linear", description="decay of the learning rate after warm-up")
    warmup: Share = Field(0.05, description="share of the steps in which the learning rate rises")
    weight_decay: Weight = Field(0.0, description="weight decay of AdamW, on matrices only")
    batch_tokens: Count = Field(4096, description="padded source or target tokens in a batch, whichever are more")
    accumulate: Count = Field(1, description="batches whose gradients make one optimizer step")
    clip_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="largest gradient norm")
    bf16: Literal["auto", "on", "off"] = Field("auto", description="bf16 autocast; auto: where the device is quick at it")
    seed: int = Field(0, description="seed of data order and dropout")
    task_weight: Weight = Field(1.0, description="weight of the cross-entropy with the labels")
    logits_weight: Weight = Field(1.0, description="weight of the MSE between logits of student and teacher")
    attention_weight: Weight = Field(1.0, description="weight of the MSE between attention maps")
    hidden_weight: Weight = Field(1.0, description="weight of the MSE between hidden states")
    validate_every: Count | None = Field(None, description="steps between validations (default: once an epoch)")
    valid_examples: Count = Field(500, description="validation examples used, from the start of the data")
    limit: Count | None = Field(None, description="training rows used, from the start of the data (default: all)")
    resume: bool = Field(False, description="continue the run that was saved in OUTPUT")

    @field_validator("layers")
    @classmethod
    def _layers(cls, value: str) -> str:
        return str(Layers.parse(value))

    @field_validator("bits")
    @classmethod
    def _bits(cls, value: str) -> str:
        return str(Scheme.parse(value))

    def cli_cmd(self) -> None:
        from compress.compress_command import run_compress

        sys.exit(run_compress(self))


class Evaluate(_DataSettings):
    """Score a teacher folder or a packed artifact on a data set, with the task's own metric."""

    model: CliPositionalArg[str] = Field(description="an artifact's folder, or a teacher's folder or hub id")
    data: str = Field(description="data: a .jsonl, .csv or .parquet file, or a hub id NAME[:CONFIG][@SPLIT]")
    task: Task | None = Field(None, description="needed for a teacher; an artifact knows its own")
    limit: Count | None = Field(None, description="examples used, from the start of the data (default: all)")
    batch_tokens: Count = Field(8192, description="padded source tokens times beams in a batch")
    output: Path | None = Field(
        None, description="JSON file of evaluations (default: evaluation.json in an artifact; NAME.evaluation.json here)"
    )
    hypotheses: Path | None = Field(None, description="also write the outputs, one a line, to this file")
    name: str | None = Field(None, description="name of the model in tables (default: its folder's name)")

    def cli_cmd(self) -> None:
        from compress.evaluate_command import run_evaluate

        sys.exit(run_evaluate(self))


class Inspect(Command):
    """Show what an artifact is: scheme, layers, size by part, ratio to the teacher, evaluations."""

    model: CliPositionalArg[Path] = Field(description="an artifact's folder")

    def cli_cmd(self) -> None:
        from compress.inspect_command import run_inspect

        sys.exit(run_inspect(self))
