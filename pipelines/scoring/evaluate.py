"""Flags of `dqbart evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import CliPositionalArg

from compress.commands import early
from compress.commands.flags import Count, ModelFlags


class Evaluate(ModelFlags):
    """Score a teacher folder or a packed artifact on a data set, with the task's own metric.

    An artifact is decoded by the engine, a teacher by `generate`, and both read texts as the service does.
    """

    model: CliPositionalArg[str] = Field(description="an artifact's folder, or a teacher's folder or hub id")
    data: str = Field(description="data: a .jsonl, .csv or .parquet file, or a hub id NAME[:CONFIG][@SPLIT]")
    limit: Count | None = Field(None, description="examples used, from the start of the data (default: all)")
    batch_tokens: Count = Field(8192, description="of `generate`: padded source tokens times beams in a batch")
    check_generate: Annotated[int, Field(ge=0)] = Field(
        0, description="of an artifact: decode so many examples with `generate` too, and fail unless all ids are equal"
    )
    keep: bool = Field(False, description="keep the scores in the artifact, in its evaluation.json and README.md")
    output: Path | None = Field(None, description="JSON file of evaluations that the scores are added to (default: none)")
    hypotheses: Path | None = Field(None, description="also write the outputs, one a line, to this file")
    name: str | None = Field(None, description="name of the model in tables (default: its folder's name)")

    def faults(self) -> list[str]:
        """What can be told before the work."""
        card = early.card_of(self.model)
        task = self.task or (card.task if card else None)
        faults = early.told_faults(self.model, self.told())
        faults += early.data_faults([self.data], task, self.fields())
        faults += early.source_faults(task, self.source_template, self.passage_separator)
        if self.keep and card is None:
            faults.append(f"--keep is for artifacts, and {self.model} is none: --output names a file")
        if self.check_generate and card is None:
            faults.append(f"--check-generate is for artifacts, and {self.model} is none: `generate` decodes it already")
        return faults

    def cli_cmd(self) -> None:
        early.stop_at("evaluate", self.faults())
        from pipelines.scoring.run_evaluate import run_evaluate

        sys.exit(run_evaluate(self))
