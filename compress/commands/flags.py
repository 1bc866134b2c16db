"""Flags that commands share, each declared once with its default and meaning.

The modules of flags import nothing heavy, so that `--help` is quick; the work is imported when a command runs.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from compress.commands import early
from compress.data.dataset import Fields
from compress.data.tables import Reading
from compress.data.text_files import DELIMITERS
from compress.model.told import Told
from dqbart.cli import Command
from quant.card import Task

if TYPE_CHECKING:
    from compress.model.token_format import LanguagePair
    from compress.scoring.decoding import DecodingSettings


def _known_encoding(value: str) -> str:
    try:
        codecs.lookup(value)
    except LookupError as error:
        raise ValueError(
            "no encoding that Python knows; utf-8, utf-16, latin-1, cp1252, shift_jis and gb18030 are some"
        ) from error
    return value


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ValueError("cpu, cuda and auto are accepted, and cuda:N for one of several")
    return value


def _character(value: str) -> str:
    if value not in DELIMITERS and len(value) != 1:
        raise ValueError(f"a single character or one of {', '.join(DELIMITERS)} is expected")
    return value


Encoding = Annotated[str, AfterValidator(_known_encoding)]
Device = Annotated[str, AfterValidator(_device)]
Delimiter = Annotated[str, AfterValidator(_character)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
ScheduleName = Literal["linear", "cosine"]


class ColumnFlags(Command):
    """What every command that reads examples has: columns, how files are read, languages."""

    source_field: str | None = Field(None, description="column of the source text (default: by task)")
    target_field: str | None = Field(None, description="column of the target text (default: by task)")
    question_field: str | None = Field(None, description="column of the question (default: question)")
    context_field: str | None = Field(None, description="column of the context (default: context)")
    encoding: Encoding | None = Field(
        None, description="encoding of .csv, .jsonl and .txt files (default: a byte-order mark's, else utf-8)"
    )
    delimiter: Delimiter | None = Field(
        None, description="what separates the cells of .csv files: a character, or tab (default: what fits the header)"
    )
    source_language: str | None = Field(None, description="language code of the source column, e.g. de_DE (mBART)")
    target_language: str | None = Field(None, description="language code of the target column, e.g. en_XX (mBART)")

    def fields(self) -> Fields:
        return Fields(
            self.source_field,
            self.target_field,
            self.question_field,
            self.context_field,
            reading=Reading(self.encoding, self.delimiter),
        )

    def languages(self) -> LanguagePair:
        """Codes of source and target, None for one that is not given; empty where neither is."""
        pair = (self.source_language, self.target_language)
        return pair if any(pair) else ()


class DataFlags(ColumnFlags):
    """Of a command that decodes them, too: references, lengths, decoding."""

    references_field: str | None = Field(None, description="column of a list of references, for scores (default: none)")
    max_target_tokens: Count = Field(128, description="longer targets are truncated in training, in tokens")
    num_beams: Count | None = Field(None, description="beams in decoding (default: the model's own)")
    length_penalty: float | None = Field(None, description="length penalty in decoding (default: the model's own)")
    max_new_tokens: Count | None = Field(None, description="longest output in tokens (default: the model's own)")
    min_new_tokens: Annotated[int, Field(ge=0)] | None = Field(None, description="shortest output in tokens")
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] | None = Field(None, description="n-grams of this size never repeat")
    allow_pickle: bool = Field(
        False, description="read a checkpoint that has pickled weights only (.bin); pickles of strangers can run code"
    )
    device: Device = Field("auto", description="cpu, cuda, or auto: cuda where there is one")

    def fields(self) -> Fields:
        return replace(super().fields(), references=self.references_field)

    def decoding(self) -> DecodingSettings:
        from compress.scoring.decoding import DecodingSettings

        return DecodingSettings(
            self.num_beams, self.length_penalty, self.max_new_tokens, self.min_new_tokens, self.no_repeat_ngram_size
        )


class ModelFlags(DataFlags):
    """What every command has that loads a model to train with or to decode: how a checkpoint is used, as cards say it."""

    task: Task | None = Field(
        None,
        description="decides column names, template and metric; needed for a checkpoint, an artifact knows its own",
    )
    source_template: str | None = Field(
        None, description="of a checkpoint: text given to the tokenizer, e.g. 'summarize: {source}' (default: by task)"
    )
    passage_separator: str | None = Field(
        None, description="of a checkpoint: what stands between the passages of a context given as a list (default: a space)"
    )
    max_source_tokens: Count | None = Field(
        None, description="of a checkpoint: longer sources are truncated (default: all positions)"
    )

    def told(self) -> Told:
        """What these flags say of a model."""
        return Told(
            task=self.task,
            languages=self.languages(),
            source_template=self.source_template,
            passage_separator=self.passage_separator,
            max_source_tokens=self.max_source_tokens,
            max_target_tokens=self.max_target_tokens,
            allow_pickle=self.allow_pickle,
        )


class TeacherFlags(ModelFlags):
    """Of commands that use a translator in the directions of a data set, and not in one at a time."""

    both_directions: bool = Field(False, description="translation: use each pair both ways")

    def told(self) -> Told:
        return replace(super().told(), both_directions=self.both_directions)

    def source_faults(self, task: Task | None) -> list[str]:
        """Of these flags together, what can be told before the work."""
        return [
            *early.direction_faults(self.both_directions, self.languages()),
            *early.source_faults(task, self.source_template, self.passage_separator),
        ]


class TrainingFlags(TeacherFlags):
    """What `compress` and `finetune` share: the optimizer, batches, validation, resuming."""

    epochs: Positive = Field(20.0, description="passes over the training data")
    max_steps: Annotated[int, Field(ge=0)] | None = Field(
        None, description="optimizer steps, in place of epochs; 0: only pack"
    )
    max_minutes: Positive | None = Field(
        None, description="time of all steps, in place of epochs: the run ends with it, and so does the schedule"
    )
    minutes_of: Literal["wall", "cpu"] = Field(
        "wall", description="what these minutes are of: cpu is the processor's time by threads, whatever else it does"
    )
    schedule: ScheduleName = Field("linear", description="decay of the learning rate after warm-up")
    warmup: Share = Field(0.05, description="share of the steps in which the learning rate rises")
    weight_decay: Weight = Field(0.0, description="weight decay of AdamW, on matrices only")
    batch_tokens: Count = Field(4096, description="padded source or target tokens in a batch, whichever are more")
    accumulate: Count = Field(1, description="batches whose gradients make one optimizer step")
    clip_norm: Positive = Field(1.0, description="largest gradient norm")
    bf16: Literal["auto", "on", "off"] = Field("auto", description="bf16 autocast; auto: where a step is faster with it")
    seed: int = Field(0, description="seed of data order and dropout")
    validate_every: Count | None = Field(None, description="steps between validations (default: once an epoch)")
    valid_examples: Count = Field(500, description="validation examples used, from the start of the data")
    limit: Count | None = Field(None, description="training rows used, from the start of the data (default: all)")
    resume: bool = Field(False, description="continue the run that was saved in OUTPUT")
    tensorboard: bool = Field(True, description="write event files to OUTPUT/training/tensorboard")
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        None, description="serve Prometheus metrics on this port while training; 0: any free one (default: none)"
    )
    workers: Count = Field(1, description="processes that share each step by its batches, on the machines of RAY_ADDRESS")

    @model_validator(mode="after")
    def _whole_shares(self) -> Self:
        if self.accumulate % self.workers:
            raise ValueError(
                f"accumulate = {self.accumulate}, workers = {self.workers}: accumulate must be a multiple of workers, "
                "as each takes the same number of a step's batches"
            )
        return self

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.max_minutes is not None and self.max_steps is not None:
            raise ValueError(
                f"max_steps = {self.max_steps}, max_minutes = {self.max_minutes:g}: a run ends by steps or by time, give one"
            )
        return self
