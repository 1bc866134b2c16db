"""Flags of `dqbart compress`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import CliPositionalArg

from compress.commands.flags import Count, TrainingFlags, Weight
from quant.card import Task
from quant.scheme import Layers, Scheme


class Compress(TrainingFlags):
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
    task_weight: Weight = Field(1.0, description="weight of the cross-entropy with the labels")
    logits_weight: Weight = Field(1.0, description="weight of the MSE between logits of student and teacher")
    attention_weight: Weight = Field(1.0, description="weight of the MSE between attention maps")
    hidden_weight: Weight = Field(1.0, description="weight of the MSE between hidden states")

    @field_validator("layers")
    @classmethod
    def _layers(cls, value: str) -> str:
        return str(Layers.parse(value))

    @field_validator("bits")
    @classmethod
    def _bits(cls, value: str) -> str:
        return str(Scheme.parse(value))

    def cli_cmd(self) -> None:
        from compress.commands.run_compress import run_compress

        sys.exit(run_compress(self))
