"""Flags of `dqbart sweep` and `dqbart pseudo-label`, each declared once with its default and meaning.

This module imports nothing heavy, so that `--help` is quick; the work is imported when a command runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg

from compress.commands import early
from compress.commands.flags import Count, TeacherFlags
from compress.data.dataset import Fields
from compress.data.tables import Reading
from dqbart.cli import Command
from pipelines.sweep.grid import Run, normalized, runs_of
from quant.card import Task


class Sweep(Command):
    """Compress one teacher in many ways, evaluate and time each student; repeat the command to continue."""

    config: CliPositionalArg[Path] = Field(description="YAML file with the settings below, keys like new_tokens")
    teacher: str = Field(description="folder or hub id of a fine-tuned BART or mBART: a checkpoint, or an artifact")
    test: str = Field(description="data that all are scored on: a .jsonl, .csv or .parquet file, or a hub id")
    output: Path = Field(description="folder of the runs, the table and the plot")
    layers: list[str] = Field([], description="layers of the grid, E-D each")
    bits: list[str] = Field([], description="bits of the grid, W-E-A each, or full")
    minutes: list[Annotated[float, Field(ge=0)]] = Field(
        [], description="of training, each for all of the grid, in place of steps and epochs; 0: without training"
    )
    compress: dict[str, Any] = Field({}, description="settings of `dqbart compress` for all runs")
    evaluate: dict[str, Any] = Field({}, description="settings of `dqbart evaluate` for all runs, beside those of compress")
    extra: list[dict[str, Any]] = Field(
        [], description="runs beside the grid: a name, and settings of compress of their own"
    )
    metric: str | None = Field(None, description="the score that the plot shows (default: the task's own)")
    jobs: Count = Field(1, description="runs at a time")
    threads: Count | None = Field(None, description="CPU threads of each run (default: all), and of the timing (default: 1)")
    source_tokens: Count = Field(32, description="timing: tokens of each source")
    new_tokens: Annotated[int, Field(ge=2)] = Field(32, description="timing: tokens generated for each source, greedily")
    rounds: Count = Field(5, description="timing: turns of each student, of which the median counts")

    @model_validator(mode="after")
    def _readable(self) -> Self:
        self.runs()
        return self

    def runs(self) -> list[Run]:
        """The grid, then the extra runs. Raises ValueError for settings that `dqbart compress` would refuse."""
        return runs_of(self.compress, self.layers, self.bits, self.extra, self.minutes)

    def task(self) -> Task:
        """Of all runs, or the teacher's own."""
        task = early.task_of(self.teacher, self.runs()[0].task)
        assert task is not None, "a fault otherwise"
        return task

    def faults(self) -> list[str]:
        """What can be told before the work, of all runs."""
        return [
            *(fault for run in self.runs() for fault in run.compress(self.teacher).faults()),
            *early.data_faults([self.test], None, Fields(reading=self.reading())),
        ]

    def reading(self) -> Reading:
        """How the test data is read."""
        given = {**normalized(self.compress), **normalized(self.evaluate)}
        return Reading(given.get("encoding"), given.get("delimiter"))

    def cli_cmd(self) -> None:
        early.stop_at("sweep", self.faults())
        from pipelines.sweep.run_sweep import run_sweep

        sys.exit(run_sweep(self))


class PseudoLabel(TeacherFlags):
    """Write a teacher's own outputs for a data set, to train students on; the same command continues a file."""

    teacher: CliPositionalArg[str] = Field(
        description="an artifact's folder, or folder or hub id of a fine-tuned BART or mBART checkpoint, packed to 8-8-8"
    )
    source: str = Field(description="data: a .jsonl, .csv or .parquet file, or a hub id NAME[:CONFIG][@SPLIT]")
    output: Path = Field(description="JSON-lines file of rows with the teacher's output in place of the target")
    limit: Count | None = Field(None, description="rows used, from the start of the data (default: all)")
    workers: Count = Field(1, description="processes that label, each with an engine of its own")
    threads: Count = Field(1, description="CPU threads of each worker")
    batch_rows: Count = Field(128, description="rows that an engine decodes together: beams of all its requests")

    def cli_cmd(self) -> None:
        task = early.task_of(self.teacher, self.task)
        early.stop_at(
            "pseudo-label",
            [
                *early.told_faults(self.teacher, self.told()),
                *early.data_faults([self.source], task, self.fields()),
                *self.source_faults(task),
            ],
        )
        from pipelines.pseudo_label.run_pseudo_label import run_pseudo_label

        sys.exit(run_pseudo_label(self))
