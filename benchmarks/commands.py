"""`dqbart bench …`: each flag declared once, with its default and meaning.

This module imports nothing heavy, so that `--help` is quick; the work is imported when a command runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import CliPositionalArg

from dqbart import Command
from quant.card import Task
from quant.scheme import Layers, Scheme
from serving.engine.settings import RunnerName

Count = Annotated[int, Field(ge=1)]


class _Bench(Command):
    """What every bench has: the student that it runs, threads, figures for programs."""

    artifact: CliPositionalArg[Path | None] = Field(
        None, description="an artifact's folder (default: BART-base's shape with random weights)"
    )
    bits: str = Field("2-2-8", description="of the random student: bits of weights, embeddings and activations, W-E-A")
    runner: RunnerName = Field("auto", description="what runs the engine's model")
    threads: Count = Field(2, description="CPU threads of either side")
    json_file: Path | None = Field(None, description="also write the figures to this file, as JSON")

    @field_validator("bits")
    @classmethod
    def _bits(cls, value: str) -> str:
        return str(Scheme.parse(value))


class BenchEngine(_Bench):
    """Speed of the engine beside a peer, on the same layers and the same work, in turns."""

    peer: Literal["ctranslate2", "transformers"] = Field("ctranslate2", description="CTranslate2 int8, or generate")
    layers: str = Field("6-1,6-3", description="of the random student: encoder and decoder layers, E-D, with commas between")
    new_tokens: Annotated[int, Field(ge=2)] = Field(64, description="tokens generated for each source, no fewer, no more")
    rounds: Count = Field(7, description="alternating runs of each, of which the median counts")

    @field_validator("layers")
    @classmethod
    def _layers(cls, value: str) -> str:
        return ",".join(str(Layers.parse(each)) for each in value.split(","))

    def cli_cmd(self) -> None:
        from benchmarks.engine_bench import run_bench_engine

        sys.exit(run_bench_engine(self))


class BenchMemory(_Bench):
    """Resident memory of a loaded student, above an interpreter that has imported torch."""

    layers: str = Field("6-3", description="of the random student: encoder and decoder layers, E-D")

    @field_validator("layers")
    @classmethod
    def _layers(cls, value: str) -> str:
        return str(Layers.parse(value))

    def cli_cmd(self) -> None:
        from benchmarks.memory_bench import run_bench_memory

        sys.exit(run_bench_memory(self))


class BenchArrivals(_Bench):
    """Continuous against static batching of the engine, for requests that come one by one."""

    layers: str = Field("6-3", description="of the random student: encoder and decoder layers, E-D")
    requests: Annotated[int, Field(ge=100)] = Field(200, description="requests of a run; their 99th percentile is compared")
    beams: list[Count] = Field([1], description="beams of a request are drawn from these numbers")
    rows: Count = Field(64, description="most rows that continuous batching decodes together")
    ended_rows: Literal["kept", "dropped"] = Field(
        "kept", description="of static batching: computed until their batch ends, as generate does, or dropped"
    )
    seeds: list[int] = Field([0], description="of sources, lengths and arrival times; each is measured by itself")

    @field_validator("layers")
    @classmethod
    def _layers(cls, value: str) -> str:
        return str(Layers.parse(value))

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if max(self.beams, default=0) > self.rows or not self.beams:
            raise ValueError(f"beams = {self.beams}: at least one number, none above rows = {self.rows}")
        return self

    def cli_cmd(self) -> None:
        from benchmarks.arrivals_bench import run_bench_arrivals

        sys.exit(run_bench_arrivals(self))


class BenchTraining(Command):
    """Speed of a training step beside the naive loop: all outputs of teacher and student, float32; in turns, on the CPU."""

    teacher: CliPositionalArg[str] = Field(description="folder or hub id of a fine-tuned BART or mBART checkpoint")
    task: Task = Field(description="decides column names and the source template")
    train: str = Field(description="training data: a .jsonl, .csv or .parquet file, or a hub id NAME[:CONFIG][@SPLIT]")
    source_language: str | None = Field(None, description="language code of the source column, e.g. de_DE (mBART)")
    target_language: str | None = Field(None, description="language code of the target column, e.g. en_XX (mBART)")
    layers: str = Field("6-3", description="encoder and decoder layers of the student, E-D")
    bits: str = Field("2-2-8", description="bits of weights, embeddings and activations, W-E-A")
    attention_weight: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of the MSE between attention maps")
    hidden_weight: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of the MSE between hidden states")
    examples: Annotated[int, Field(ge=1, le=8192)] = Field(1000, description="rows of the data in a round, from its start")
    batch_tokens: Count = Field(4096, description="padded source or target tokens in a batch, whichever are more")
    rounds: Count = Field(5, description="alternating rounds of each, of which the median counts")
    threads: Count = Field(2, description="CPU threads of either side")
    json_file: Path | None = Field(None, description="also write the figures to this file, as JSON")

    @field_validator("layers")
    @classmethod
    def _layers(cls, value: str) -> str:
        return str(Layers.parse(value))

    @field_validator("bits")
    @classmethod
    def _bits(cls, value: str) -> str:
        return str(Scheme.parse(value))

    def cli_cmd(self) -> None:
        from benchmarks.training_bench import run_bench_training

        sys.exit(run_bench_training(self))
