"""`dqbart bench …`: each flag declared once, with its default and meaning.

This module imports nothing heavy, so that `--help` is quick; the work is imported when a command runs.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import CliPositionalArg

from dqbart import Command
from quant.card import Task
from quant.scheme import Layers, Scheme
from serving.engine.settings import RunnerName

Count = Annotated[int, Field(ge=1)]
Phase = Literal["checking", "ray", "node", "controller", "replica", "opening", "ready", "idle", "load", "reload", "group"]
"""Of a server's start and work, in their order; see service/stops.py."""


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


class BenchService(Command):
    """Latency and throughput of a service, its own or one that runs already, beside those of the bare engine."""

    model: CliPositionalArg[Path | None] = Field(
        None, description="folder of the artifact to serve (default: the first translator in models/)"
    )
    url: str | None = Field(None, description="measure a server that runs already: its HTTP address, http://HOST:PORT")
    server: str | None = Field(None, description="measure a server that runs already: its gRPC address, HOST:PORT")
    served_model: str | None = Field(None, description="of a running server: the model to ask (default: the first)")
    api_key: SecretStr | None = Field(None, description="of a running server; better as DQBART_API_KEY")
    protocols: list[Literal["http", "grpc"]] = Field(["http", "grpc"], min_length=1, description="what to measure")
    texts: Path | None = Field(None, description="file with a text on each line (default: German sentences)")
    clients: Count = Field(64, description="requests at a time, to find the throughput")
    rates: list[Annotated[float, Field(gt=0)]] = Field(
        [], description="requests a second, to find latencies (default: 20 to 100 percent of the throughput)"
    )
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(5.0, description="that each load is measured")
    rounds: Count = Field(3, description="alternating runs of each side, of which the median counts")
    quick: bool = Field(False, description="measure shortly, to see that it works")
    threads: Count = Field(2, description="CPU threads of server and engine, a power of two")
    runner: RunnerName = Field("auto", description="what runs the model")
    plot: Path | None = Field(None, description="write latencies against rates to this file, .svg or .png")
    json_file: Path | None = Field(None, description="also write the figures to this file, as JSON")

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"http://[^/:]+:\d+/?", value):
            raise ValueError("http://HOST:PORT is expected; https is the edge's")
        return value

    @field_validator("plot")
    @classmethod
    def _plot(cls, value: Path | None) -> Path | None:
        return _figure_file(value)

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.model is not None and (self.url or self.server):
            raise ValueError("a model is given, and a server that runs already: choose one")
        if (self.url or self.server) and not self.addresses():
            raise ValueError("protocols: the server's address is given for another one only")
        return self

    def addresses(self) -> dict[Literal["http", "grpc"], str]:
        """HOST:PORT of a server that runs already, by protocol."""
        given: dict[Literal["http", "grpc"], str] = {}
        if self.url is not None:
            given["http"] = self.url.removeprefix("http://").rstrip("/")
        if self.server is not None:
            given["grpc"] = self.server
        return {protocol: address for protocol, address in given.items() if protocol in self.protocols}

    def model_folder(self) -> Path:
        """The artifact to serve. Raises SystemExit when none is found."""
        return self.model or shipped_model("translation")

    def cli_cmd(self) -> None:
        from benchmarks.service.service_bench import run_bench_service

        sys.exit(run_bench_service(self))


class BenchSoak(Command):
    """Mixed traffic on a server for a long time: is its memory flat, and does anything fail that should not."""

    models: list[Path] = Field([], description="folders of the artifacts to serve (default: what dqbart serve finds)")
    minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(30.0, description="how long")
    clients: Count = Field(8, description="requests at a time")
    every: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(5.0, description="seconds between two samples")
    threads: Count = Field(2, description="CPU threads of the server, a power of two")
    seed: int = Field(0, description="of the traffic")
    plot: Path | None = Field(None, description="write memory and open files over time to this file, .svg or .png")
    json_file: Path | None = Field(None, description="also write the samples and counts to this file, as JSON")

    @field_validator("plot")
    @classmethod
    def _plot(cls, value: Path | None) -> Path | None:
        return _figure_file(value)

    def cli_cmd(self) -> None:
        from benchmarks.service.soak import run_bench_soak

        sys.exit(run_bench_soak(self))


class BenchStops(Command):
    """SIGTERM in every phase of a server's start and work: does it end soon, by the right code, and leave nothing behind."""

    models: list[Path] = Field([], description="folders of the artifacts to serve (default: the first two in models/)")
    phases: list[Phase] = Field([], description="when to stop (default: in each of them)")
    times: Count = Field(20, description="stops in each phase")
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(40.0, description="that a server may take to end")
    threads: Count = Field(1, description="CPU threads of the server, a power of two")
    seed: int = Field(0, description="of the moments in a phase")
    json_file: Path | None = Field(None, description="also write every stop to this file, as JSON")

    def cli_cmd(self) -> None:
        from benchmarks.service.stops import run_bench_stops

        sys.exit(run_bench_stops(self))


class BenchHolds(Command):
    """How long the worst request, of 20 MB or of 32 long texts, keeps a replica's loop from all others."""

    models: list[Path] = Field([], description="folders of the artifacts to serve (default: all in models/)")
    only: str | None = Field(None, description="requests whose path or name has this text")
    rounds: Count = Field(3, description="of each request, of which the least counts")
    most: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(50.0, description="milliseconds that are allowed")
    json_file: Path | None = Field(None, description="also write the figures to this file, as JSON")

    def cli_cmd(self) -> None:
        from benchmarks.service.holds import run_bench_holds

        sys.exit(run_bench_holds(self))


class BenchCapacity(Command):
    """How many replicas a load needs: costs measured here, and a simulation that is checked against the service."""

    models: list[Path] = Field([], description="folders of artifacts (default: all in ./models, else beside this source)")
    checked_replicas: list[Count] = Field([1, 2], description="replicas of the service that the simulation is checked with")
    threads: Count = Field(1, description="CPU threads of a replica, a power of two; it is taken to have as many cores")
    runner: RunnerName = Field("auto", description="what runs the models")
    seed: int = Field(0, description="of the simulated arrivals")
    quick: bool = Field(False, description="measure and simulate shortly, to see that it works")
    plot: Path | None = Field(None, description="write latencies against loads to this file, .svg or .png")
    json_file: Path | None = Field(None, description="also write the figures to this file, as JSON")

    @field_validator("plot")
    @classmethod
    def _plot(cls, value: Path | None) -> Path | None:
        return _figure_file(value)

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


def _figure_file(path: Path | None) -> Path | None:
    if path is not None and path.suffix not in (".svg", ".png"):
        raise ValueError("a name that ends in .svg or .png is expected")
    return path
