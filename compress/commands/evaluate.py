"""Flags of `dqbart evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from compress.commands.flags import Count, DataFlags
from quant.card import Task


class Evaluate(DataFlags):
    """Score a teacher folder or a packed artifact on a data set, with the task's own metric."""

    model: CliPositionalArg[str] = Field(description="an artifact's folder, or a teacher's folder or hub id")
    data: str = Field(description="data: a .jsonl, .csv or .parquet file, or a hub id NAME[:CONFIG][@SPLIT]")
    task: Task | None = Field(None, description="needed for a teacher; an artifact knows its own")
    limit: Count | None = Field(None, description="examples used, from the start of the data (default: all)")
    source_template: str | None = Field(
        None, description="of a teacher: text given to the tokenizer, e.g. 'summarize: {source}'"
    )
    passage_separator: str | None = Field(
        None, description="of a teacher: what stands between the passages of a context given as a list (default: a space)"
    )
    max_source_tokens: Count | None = Field(
        None, description="of a teacher: longer sources are truncated (default: all positions)"
    )
    batch_tokens: Count = Field(8192, description="padded source tokens times beams in a batch")
    output: Path | None = Field(
        None, description="JSON file of evaluations (default: evaluation.json in an artifact; NAME.evaluation.json here)"
    )
    hypotheses: Path | None = Field(None, description="also write the outputs, one a line, to this file")
    name: str | None = Field(None, description="name of the model in tables (default: its folder's name)")

    def cli_cmd(self) -> None:
        from compress.commands.run_evaluate import run_evaluate

        sys.exit(run_evaluate(self))
