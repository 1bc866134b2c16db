"""Flags of `dqbart compress`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import CliPositionalArg

from compress.commands import early
from compress.commands.flags import Count, Positive, ScheduleName, Share, TrainingFlags, Weight
from pipelines.compressing.recipes import DEFAULT, DEFAULTS, Recipe, with_recipe
from quant.scheme import Layers, Scheme

FULL_PRECISION = "full"
"""What `--bits` says for a student that is distilled and not quantized."""


def _without_x(value: object) -> object:
    return value.strip().removesuffix("x") if isinstance(value, str) else value


Ratio = Annotated[float, BeforeValidator(_without_x), Field(gt=1)]
"""How many times smaller: `20x` or 20."""


class Compress(TrainingFlags):
    """Compress a fine-tuned BART or mBART checkpoint: fewer layers, joint distillation and quantization, packed."""

    teacher: CliPositionalArg[str] = Field(
        description="folder or hub id of a fine-tuned BART or mBART: a checkpoint, or an artifact"
    )
    train: list[str] = Field(
        min_length=1, description="training data: .jsonl, .csv or .parquet files, or hub ids NAME[:CONFIG][@SPLIT]"
    )
    valid: str = Field(description="validation data, likewise; the best checkpoint on it is kept")
    output: Path = Field(description="folder of the artifact (and, below it, of the training state)")
    layers: str = Field("6-3", description="encoder and decoder layers of the student, E-D")
    bits: str = Field(
        "2-2-8",
        description="bits of weights, embeddings and activations, W-E-A; /row or /matrix scales; full: none is quantized",
    )
    single_layer: Literal["first", "last"] = Field("last", description="the teacher layer that a stack of one layer takes")
    recipe: Recipe = Field(
        DEFAULT,
        description="how students are trained, a set of flags: those given beside it win; dq-bart and tbt are the papers'",
    )
    learning_rate: Positive | None = Field(
        DEFAULTS["learning_rate"],
        description="peak learning rate of AdamW (default: 0.256 / the model's width, 1e-3 at most)",
    )
    schedule: ScheduleName = Field(DEFAULTS["schedule"], description="decay of the learning rate after warm-up")
    task_weight: Weight = Field(DEFAULTS["task_weight"], description="weight of the cross-entropy with the labels")
    logits_weight: Weight = Field(
        DEFAULTS["logits_weight"], description="weight of the MSE between logits of student and teacher"
    )
    attention_weight: Weight = Field(DEFAULTS["attention_weight"], description="weight of the MSE between attention maps")
    hidden_weight: Weight = Field(DEFAULTS["hidden_weight"], description="weight of the MSE between hidden states")
    kl_weight: Weight = Field(
        DEFAULTS["kl_weight"],
        description="weight of the divergence of the next token's probabilities, the student's from the teacher's",
    )
    divergence: Literal["forward-kl", "reverse-kl", "jensen-shannon"] = Field(
        "forward-kl", description="which: KL(teacher || student), KL(student || teacher), or to the mean of both"
    )
    temperature: Positive = Field(1.0, description="of the softmax of both in that term")
    on_policy: Share = Field(
        0.0,
        description="share of the batches whose targets the student writes, for the teacher to say what should come next; "
        "with 1, sources are all that --train needs",
    )
    on_policy_every: Count = Field(25, description="steps after which the student writes anew")
    scales: Literal["computed", "learned"] = Field(
        DEFAULTS["scales"], description="scales of weights: from the weights (the paper), or trained with them (LSQ)"
    )
    ternary: Literal["twn", "tbt"] = Field(
        DEFAULTS["ternary"],
        description="scales of 2 bits: mean of the weights above 0.7 mean |w| (the paper), or 4/3 mean |w| (TBT)",
    )
    clip: Annotated[float, Field(ge=0)] = Field(
        DEFAULTS["clip"],
        description="weights are clipped to ± this before scales are computed, and learn nothing beyond it; 0: off",
    )
    prune_heads: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of all attention heads removed before training, those that matter least on the training data"
    )
    target_ratio: Ratio | None = Field(
        None, description="bits by block so that weights are so many times smaller than the teacher's in float32, e.g. 20x"
    )
    calibrate: bool | None = Field(
        None,
        description="fit the student to the teacher's outputs for unlabelled texts, without steps: lost bits and dropped "
        "layers are made good (default: with --max-steps 0)",
    )
    calibration: list[str] = Field(
        [], description="texts for it, like --train; only sources are read (default: the first file of --train)"
    )
    calibration_examples: Count | None = Field(
        None, description="how many of them are drawn (default: 2,048, fewer of long texts and wide models)"
    )
    tune_scales: Literal["auto", "on", "off"] = Field(
        "auto",
        description="after it train scales, biases and normalizations for a few steps, with codes fixed; auto: with 2-bit "
        "embeddings or dropped layers, where no training follows",
    )
    tune_steps: Count = Field(60, description="how many steps, of 1,024 tokens")
    measure_batches: Count = Field(16, description="batches that heads and blocks are measured on for these two")

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, given: Any) -> Any:
        return with_recipe(given)

    @field_validator("train", "calibration", mode="before")
    @classmethod
    def _one_file(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("layers")
    @classmethod
    def _layers(cls, value: str) -> str:
        return str(Layers.parse(value))

    @field_validator("bits")
    @classmethod
    def _bits(cls, value: str) -> str:
        return value if value == FULL_PRECISION else str(Scheme.parse(value))

    @model_validator(mode="after")
    def _quantized(self) -> Self:
        if self.bits == FULL_PRECISION and (self.prune_heads or self.target_ratio):
            raise ValueError(
                f"bits = {FULL_PRECISION} makes a plain checkpoint, which can have neither prune_heads nor target_ratio"
            )
        return self

    @model_validator(mode="after")
    def _own_outputs(self) -> Self:
        if self.on_policy and self.bits == FULL_PRECISION:
            raise ValueError(
                f"bits = {FULL_PRECISION}, on_policy = {self.on_policy:g}: the engine writes, which runs packed students"
            )
        if self.on_policy and not (self.kl_weight or self.logits_weight):
            raise ValueError(
                f"on_policy = {self.on_policy:g} needs the teacher's word on each token: kl_weight or logits_weight above 0"
            )
        return self

    @property
    def reads_labels(self) -> bool:
        """Whether training data needs targets: not where the student writes them all, and nothing is measured on them."""
        return self.on_policy < 1 or bool(self.prune_heads or self.target_ratio)

    def faults(self) -> list[str]:
        """What can be told before the work, but for the folder of the output."""
        task = early.task_of(self.teacher, self.task)
        return [
            *early.told_faults(self.teacher, self.told()),
            *early.data_faults(self.train, task, self.fields(), self.reads_labels),
            *early.data_faults([self.valid], task, self.fields()),
            *early.data_faults(self.calibration, task, self.fields(), labels=False),
            *self.source_faults(task),
        ]

    def cli_cmd(self) -> None:
        early.stop_at("compress", [*self.faults(), *early.output_faults(self.output, self.resume)])
        from pipelines.compressing.run_compress import run_compress

        sys.exit(run_compress(self))
