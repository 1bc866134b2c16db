"""Flags of `dqbart finetune`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg

from compress.commands import early
from compress.commands.flags import Count, Positive, Share, TrainingFlags
from compress.model.told import Told


class Finetune(TrainingFlags):
    """Make a teacher: fine-tune a BART or mBART checkpoint on a task's data, or pretrain one by denoising."""

    checkpoint: CliPositionalArg[str | None] = Field(
        None, description="folder or hub id of a BART or mBART checkpoint, or folder of an artifact"
    )
    from_config: Path | None = Field(
        None, description="config.json to start from random weights instead, with the tokenizer beside it, if there is one"
    )
    objective: Literal["task", "denoising"] = Field(
        "task", description="the task's targets, or BART's own: text infilling and sentence permutation on sources alone"
    )
    train: list[str] = Field(
        description=".jsonl, .csv, .parquet, or hub ids NAME[:CONFIG][@SPLIT]; denoising: .txt, a text a line, too"
    )
    valid: list[str] = Field(description="validation data, likewise; the best checkpoint on it is kept")
    output: Path = Field(description="folder of the checkpoint (and, below it, of the training state)")
    new_vocabulary: Count | None = Field(
        None, description="train a tokenizer of so many tokens on the data; its embeddings are made of the old ones"
    )
    max_positions: Annotated[int, Field(ge=16)] | None = Field(
        None, description="longest source and target in tokens (default: the checkpoint's); new positions repeat the old"
    )
    sinusoidal_positions: bool = Field(
        False, description="positions begin anew, as sines and cosines: for longer texts than the checkpoint was trained on"
    )
    segment_tokens: Annotated[int, Field(ge=16)] = Field(256, description="denoising: length that texts are cut to")
    learning_rate: Positive = Field(3e-5, description="peak learning rate of AdamW")
    dropout: Share = Field(0.1, description="dropout of the layers' outputs while training")

    @model_validator(mode="after")
    def _start(self) -> Self:
        if (self.checkpoint is None) == (self.from_config is None):
            raise ValueError("give either a checkpoint or --from-config")
        return self

    def told(self) -> Told:
        """What an artifact's card says, where these flags do not: it may be trained for another use than its own."""
        told = super().told()
        card = early.card_of(self.checkpoint) if self.checkpoint else None
        if card is None or told.task not in (None, card.task):
            return told
        completed = told.completed(card)
        return completed if self.max_positions is None else replace(completed, max_source_tokens=told.max_source_tokens)

    def faults(self) -> list[str]:
        """What can be told before the work."""
        data, fields = [*self.train, *self.valid], self.fields()
        denoising = self.objective == "denoising"
        start = self.checkpoint or str(self.from_config)
        task = early.task_of(start, self.task)
        return [
            *(early.model_faults(self.checkpoint) if self.checkpoint else []),
            *early.task_faults(start, self.task),
            *(early.text_faults(data, fields) if denoising else early.data_faults(data, task, fields)),
            *self.source_faults(task),
            *early.output_faults(self.output, self.resume),
        ]

    def cli_cmd(self) -> None:
        early.stop_at("finetune", self.faults())
        from compress.commands.run_finetune import run_finetune

        sys.exit(run_finetune(self))
