"""`dqbart bench …`: each flag declared once, with its default and meaning.

This module imports nothing heavy, so that `--help` is quick; the work is imported when a command runs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import CliPositionalArg

from benchmarks.shapes import Shape
from dqbart.cli import Command
from quant.card import Task
from quant.processors import available_threads
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
    threads: Count = Field(
        default_factory=available_threads,
        description="CPU threads of either side; by default those that this process may use",
    )
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
    models: list[Count] = Field(
        [], description="instead of a peer: so many models busy at once on one loop, beside one of them alone (2,10)"
    )

    @field_validator("layers")
    @classmethod
    def _layers(cls, value: str) -> str:
        return ",".join(str(Layers.parse(each)) for each in value.split(","))

    def cli_cmd(self) -> None:
        if self.models:
            from benchmarks.many_models import run_many_models

            sys.exit(run_many_models(self))
        from benchmarks.engine_bench import run_bench_engine

        sys.exit(run_bench_engine(self))


class BenchMemory(_Bench):
    """What loading takes and holds, at the first start and later; resident memory of a student that decodes."""

    layers: str = Field("6-3", description="of the random student: encoder and decoder layers, E-D")
    shape: Shape = Field("bart-base", description="of the random student")
    models: Count = Field(1, description="random students that are loaded, of which none is another")

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


class BenchSearch(Command):
    """What searching costs beside the model's arithmetic, at growing lengths, and drawing among all tokens beside a few."""

    requests: Count = Field(16, description="requests at a time")
    runner: RunnerName = Field("auto", description="what runs the engine's model")
    json_file: Path | None = Field(None, description="also write the figures to this file, as JSON")

    def cli_cmd(self) -> None:
        from benchmarks.search_bench import run_bench_search

        sys.exit(run_bench_search(self))


class BenchNeighbours(_Bench):
    """Encoding and decode steps on one thread and on several, beside none, one and two processes that keep cores busy."""

    layers: str = Field("6-3", description="of the random student: encoder and decoder layers, E-D")
    rounds: Count = Field(7, description="alternating runs on either number of threads")

    @field_validator("layers")
    @classmethod
    def _layers(cls, value: str) -> str:
        return str(Layers.parse(value))

    def cli_cmd(self) -> None:
        from benchmarks.neighbours_bench import run_bench_neighbours

        sys.exit(run_bench_neighbours(self))


class BenchBatch(Command):
    """What `dqbart batch` makes of a core beside the bare engine, which is given token ids, on the same texts in turns."""

    artifact: CliPositionalArg[Path] = Field(description="an artifact's folder: of a translator, or of a summarizer")
    data: CliPositionalArg[Path] = Field(description="text file, a line each: as many of them as there are, again and again")
    rows: Count = Field(4000, description="texts answered in each round")
    source_language: str | None = Field(None, description="language of the texts, for a translator")
    target_language: str | None = Field(None, description="language to translate to")
    rounds: Count = Field(3, description="alternating runs of each, of which the median counts")
    json_file: Path | None = Field(None, description="also write the figures to this file, as JSON")

    def cli_cmd(self) -> None:
        from benchmarks.batch_bench import run_bench_batch

        sys.exit(run_bench_batch(self))


class BenchTraining(Command):
    """Speed of a training step beside the naive loop: all outputs of teacher and student, float32; in turns, on the CPU."""

    teacher: CliPositionalArg[str] = Field(
        description="folder or hub id of a fine-tuned BART or mBART: a checkpoint, or an artifact"
    )
    task: Task | None = Field(None, description="decides column names and the source template; an artifact has its own")
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
    threads: Count = Field(
        default_factory=available_threads,
        description="CPU threads of either side; by default those that this process may use",
    )
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


class BenchCapacity(Command):
    """How many replicas a load needs: costs measured here, and a simulation that is checked against the service."""

    models: list[Path] = Field([], description="folders of artifacts (default: all in ./models, else beside this source)")
    checked_replicas: list[Count] = Field([1, 2], description="replicas of the service that the simulation is checked with")
    threads: Count = Field(1, description="CPU threads of a replica; it is taken to have as many cores")
    runner: RunnerName = Field("auto", description="what runs the models")
    seed: int = Field(0, description="of the simulated arrivals")
    quick: bool = Field(False, description="measure and simulate shortly, to see that it works")
    plot: Path | None = Field(None, description="write latencies against loads to this file, .svg or .png")
    json_file: Path | None = Field(None, description="also write the figures to this file, as JSON")

    @field_validator("plot")
    @classmethod
    def _plot(cls, value: Path | None) -> Path | None:
        return figure_file(value)

    def model_folders(self) -> list[Path]:
        """The artifacts to measure. Raises SystemExit when none is found."""
        return self.models or shipped_models()

    def cli_cmd(self) -> None:
        from benchmarks.capacity.capacity_bench import run_bench_capacity

        sys.exit(run_bench_capacity(self))


def shipped_models() -> list[Path]:
    """The artifacts in ./models, else in models/ beside this source. Raises SystemExit for none."""
    for place in (Path.cwd(), Path(__file__).resolve().parents[1]):
        if found := sorted(config.parent for config in place.glob("models/*/config.json")):
            return found
    raise SystemExit("no artifact in models/; name folders with --models")


def shipped_model(task: Task) -> Path:
    """The first artifact for a task in ./models, else in models/ beside this source. Raises SystemExit for none."""
    for place in (Path.cwd(), Path(__file__).resolve().parents[1]):
        for config in sorted(place.glob("models/*/config.json")):
            if json.loads(config.read_text()).get("dqbart", {}).get("task") == task:
                return config.parent
    raise SystemExit(f"no artifact for {task} in models/; name a folder")


def figure_file(path: Path | None) -> Path | None:
    """A plot's file, for a validator."""
    if path is not None and path.suffix not in (".svg", ".png"):
        raise ValueError("a name that ends in .svg or .png is expected")
    return path
