"""Flags of `dqbart batch`, each declared once. This module imports nothing heavy, so that `--help` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from compress.commands.flags import Count, Delimiter, Device
from dqbart.cli import Command
from serving.service.requests import GenerationParameters, Truncation

OutputFormat = Literal["parquet", "jsonl", "csv"]


class Batch(Command, GenerationParameters):
    """Run a model over every row of files or of a data set; the same command continues a run that was stopped."""

    model_config = SettingsConfigDict()

    model: CliPositionalArg[Path] = Field(description="an artifact's folder; its task is what is done")
    input: CliPositionalArg[list[str]] = Field(
        min_length=1,
        description="files (.parquet, .jsonl, .csv, .tsv, .txt; .gz too), folders of files of one kind, folders saved by "
        "`datasets`, or hub ids NAME[:CONFIG][@SPLIT]",
    )
    output: Path = Field(description="folder of the files with the outputs, and of bad-rows.jsonl")
    output_format: OutputFormat | None = Field(
        None, description="of the files (default: that of the input; parquet for a data set, jsonl for text)"
    )
    text_column: str | None = Field(
        None, description="column of the texts (default: text, else source, document or article)"
    )
    question_column: str = Field("question", description="column of the questions")
    context_column: str = Field("context", description="column of what is answered from, texts or lists of passages")
    source_language: str | None = Field(None, description="language of all texts, a code of the model or like de")
    target_language: str | None = Field(None, description="language to translate all texts to")
    source_language_column: str | None = Field(None, description="column of each text's language, in place of one for all")
    target_language_column: str | None = Field(None, description="column of the language to translate to")
    prefix: str = Field("", description="what the names of the columns with outputs begin with, such as dqbart_")
    delimiter: Delimiter | None = Field(
        None, description="what separates the cells of .csv files: a character, or tab (default: what fits the header)"
    )
    truncation: Truncation | None = Field(
        None,
        description="of a text that is too long: error makes it a bad row, end cuts its end off, chunk splits it (default: "
        "error; for translations chunk, which goes sentence by sentence)",
    )
    rows_per_file: Count | None = Field(
        None, description="rows of each file of the output; as many are done again after an interruption (default: by size)"
    )
    concurrency: Count | None = Field(None, description="actors, each with an engine (default: what all cores or GPUs take)")
    threads: Count | None = Field(
        None, description="CPU threads of each actor (default: 1, or all cores shared among --concurrency actors)"
    )
    batch_rows: Count = Field(64, description="rows that an engine decodes together: beams of all its texts")
    device: Device = Field("auto", description="cpu, cuda, or auto: cuda where every actor can have a GPU")
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        None, description="port of Prometheus metrics of the run; 0 takes a free one (default: none)"
    )

    @model_validator(mode="after")
    def _repeatable(self) -> Self:
        if self.do_sample and self.seed is None:
            raise ValueError("do_sample = True: needs a seed, so that a run that is continued draws the same")
        for name in ("source_language", "target_language"):
            if getattr(self, name) is not None and getattr(self, f"{name}_column") is not None:
                raise ValueError(f"{name} and {name}_column are both given; choose one")
        return self

    def parameters(self) -> dict[str, Any]:
        """Of the generation, those that were given."""
        return self.model_dump(include=set(GenerationParameters.model_fields), exclude_none=True)

    def cli_cmd(self) -> None:
        from pipelines.batch.run_batch import run_batch

        sys.exit(run_batch(self))
