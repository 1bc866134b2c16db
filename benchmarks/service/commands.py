"""`dqbart bench service`, `soak`, `stops` and `holds`: each flag declared once, with its default and meaning.

This module imports nothing heavy, so that `--help` is quick; the work is imported when a command runs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import CliPositionalArg

from benchmarks.commands import Count, figure_file, shipped_model
from dqbart.cli import Command
from quant.processors import available_threads
from serving.engine.settings import RunnerName

Phase = Literal["checking", "ray", "node", "controller", "replica", "opening", "ready", "idle", "load", "reload", "group"]
"""Of a server's start and work, in their order; see service/stops.py."""


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
    threads: Count = Field(
        default_factory=available_threads,
        description="CPU threads of server and engine; by default those that this process may use",
    )
    runner: RunnerName = Field("auto", description="what runs the model")
    peer: bool = Field(
        False,
        description="measure beside CTranslate2 int8 behind FastAPI instead, over HTTP: the model that is given, else the "
        "first translator in models/ and a random student of BART-base's shape",
    )
    random_model: bool = Field(False, description="of --peer: measure that random student only")
    many_models: list[Annotated[int, Field(ge=2, le=100)]] = Field(
        [],
        description="measure so many models in one server instead, idle and busy at once, beside a server of one, over "
        "HTTP: copies of the model",
    )
    limits: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        [250.0, 500.0, 1000.0, 2000.0],
        min_length=1,
        description="of --peer: milliseconds that the 99th percentile may take, to find the highest rate of requests",
    )
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
        return figure_file(value)

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.model is not None and (self.url or self.server):
            raise ValueError("a model is given, and a server that runs already: choose one")
        if (self.url or self.server) and not self.addresses():
            raise ValueError("protocols: the server's address is given for another one only")
        if self.peer and (self.url or self.server):
            raise ValueError("peer = true: it is compared with a server of the bench's own, not with one that runs already")
        if self.many_models and (self.url or self.server):
            raise ValueError(
                f"many_models = {self.many_models}: servers of the bench's own are measured, not one that runs already"
            )
        if self.random_model and (self.model is not None or not self.peer):
            raise ValueError("random_model = true: it is for peer, and stands in the place of a model that is given")
        if self.peer and self.many_models:
            raise ValueError(f"peer = true and many_models = {self.many_models}: one of them at a time")
        if self.plot and (self.peer or self.many_models):
            raise ValueError("plot: it shows latencies of the service alone, not those of peer and many_models")
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
    threads: Count = Field(
        default_factory=available_threads,
        description="CPU threads of the server; by default those that this process may use",
    )
    seed: int = Field(0, description="of the traffic")
    plot: Path | None = Field(None, description="write memory and open files over time to this file, .svg or .png")
    json_file: Path | None = Field(None, description="also write the samples and counts to this file, as JSON")

    @field_validator("plot")
    @classmethod
    def _plot(cls, value: Path | None) -> Path | None:
        return figure_file(value)

    def cli_cmd(self) -> None:
        from benchmarks.service.soak import run_bench_soak

        sys.exit(run_bench_soak(self))


class BenchStops(Command):
    """SIGTERM in every phase of a server's start and work: does it end soon, by the right code, and leave nothing behind."""

    models: list[Path] = Field([], description="folders of the artifacts to serve (default: the first two in models/)")
    phases: list[Phase] = Field([], description="when to stop (default: in each of them)")
    times: Count = Field(20, description="stops in each phase")
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(40.0, description="that a server may take to end")
    threads: Count = Field(1, description="CPU threads of the server")
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
