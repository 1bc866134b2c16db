"""Flags of `dqbart compare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import CliPositionalArg

from compress.commands import early
from compress.commands.flags import Count, ModelFlags
from compress.model.told import Told


class Compare(ModelFlags):
    """Decode a data set with two models alike: how sure their difference in score is, and the outputs that changed most.

    Artifacts are decoded by the engine, others by `generate`, and all read texts as the service does. What a checkpoint is
    not told, it takes from the artifact beside it.
    """

    teacher: CliPositionalArg[str] = Field(description="the first model: a folder or hub id, or an artifact's folder")
    student: CliPositionalArg[str] = Field(description="the second model, likewise; decoding is its own unless flags say")
    data: str = Field(description="data: a .jsonl, .csv or .parquet file, or a hub id NAME[:CONFIG][@SPLIT]")
    limit: Count | None = Field(None, description="examples used, from the start of the data (default: all)")
    batch_tokens: Count = Field(8192, description="of `generate`: padded source tokens times beams in a batch")
    check_generate: Annotated[int, Field(ge=0)] = Field(
        0, description="of artifacts: decode so many examples with `generate` too, and fail unless all ids are equal"
    )
    examples: Annotated[int, Field(ge=0)] = Field(10, description="examples shown, those that changed most first")
    samples: Annotated[int, Field(ge=100)] = Field(1000, description="draws of the paired bootstrap")
    json_file: Path | None = Field(None, description="also write scores, intervals and all changed examples to this file")

    def faults(self) -> list[str]:
        """What can be told before the work."""
        models = (self.teacher, self.student)
        cards = [card for card in map(early.card_of, models) if card is not None]
        task = self.task or (cards[0].task if cards else None)
        if task is None:
            return [f"neither {self.teacher} nor {self.student} is a packed artifact, so --task is needed"]
        unchecked = self.check_generate and not cards
        return [
            *(["--check-generate is for artifacts, and neither model is one"] if unchecked else []),
            *(fault for name in models for fault in early.told_faults(name, Told(task, self.languages()))),
            *early.data_faults([self.data], task, self.fields()),
            *early.source_faults(task, self.source_template, self.passage_separator),
        ]

    def cli_cmd(self) -> None:
        early.stop_at("compare", self.faults())
        from pipelines.scoring.run_compare import run_compare

        sys.exit(run_compare(self))
