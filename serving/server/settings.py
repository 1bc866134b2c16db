"""The settings of `dqbart serve`, each declared once: a flag, DQBART_NAME, and a key of the YAML file.

This module loads neither torch nor ray, so that `dqbart serve --help` and a wrong setting answer at once.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from dqbart.cli import Command, read_settings
from quant.card import Task
from quant.processors import available_threads
from serving.engine.settings import EngineSettings, RunnerName
from serving.observability.logs import LogFormat, LogSettings
from serving.server.key import all_keys
from serving.server.named_folders import check_folders, folder_list, named_folder
from serving.service.access import ApiKey
from serving.service.gate import GateSettings

if TYPE_CHECKING:
    from serving.server.residents import Residence
    from serving.service.service import Limits

Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[int, Field(ge=1)]
Proxy = Literal["auto", "haproxy", "ray"]
Load = Literal["at-start", "first-use"]
LogLevel = Literal["debug", "info", "warning", "error"]


class Serve(Command):
    """Serve artifacts over HTTP and gRPC until SIGINT or SIGTERM."""

    models: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="artifact folders to serve, each FOLDER or NAME=FOLDER, repeated or separated by commas; the name is "
        "the folder's unless given (default: every artifact in ./models, else in models beside the installed source)",
    )
    default_translation: str | None = Field(
        default=None, description="model for translation requests that name none (default: the first one)"
    )
    default_summarization: str | None = Field(
        default=None, description="model for summarization requests that name none (default: the first one)"
    )
    default_question_answering: str | None = Field(
        default=None, description="model for question answering requests that name none (default: the first one)"
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="address that HTTP listens on, 0.0.0.0 for all; gRPC too, but on all where proxy is ray",
    )
    http_port: Port = Field(default=8000, description="port of HTTP")
    grpc_port: int = Field(default=9000, ge=0, le=65535, description="port of gRPC, 0 for no gRPC")
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="port of the host for the metrics of this machine's replicas only, for a cluster's scrapers, 0 for none",
    )
    proxy: Proxy = Field(
        default="auto",
        description="what hands requests to the replicas: haproxy, which comes with ray[serve] on Linux, or ray, whose own "
        "proxy is slower; auto takes haproxy where there is one",
    )
    replicas: Positive = Field(default=1, description="processes that each hold every model")
    threads: Positive | None = Field(
        default=None, description="CPU threads of a replica (default: those that the server may use / replicas)"
    )
    runner: RunnerName = Field(
        default="auto",
        description="what runs the models: cuda on a GPU, native kernels on a CPU with AVX-512 VNNI or AVX2, pytorch on any",
    )
    max_batch_rows: Positive = Field(
        default=EngineSettings.max_batch_rows,
        description="rows (inputs times beams) that a model decodes together, in each replica",
    )
    max_cache_bytes: Positive = Field(
        default=EngineSettings.max_cache_bytes,
        description="bytes of memory for what all models keep of the inputs that they are decoding, in each replica; where "
        "they end, who came last waits",
    )
    max_queued_requests: Positive = Field(
        default=EngineSettings.max_queued_requests,
        description="inputs that may wait for a model in each replica; more are refused",
    )
    max_encode_tokens: Positive = Field(
        default=EngineSettings.max_encode_tokens, description="source tokens that a model encodes together, padding included"
    )
    encode_tokens_per_step: Positive = Field(
        default=EngineSettings.encode_tokens_per_step,
        description="source tokens that a model encodes between two decoding steps: fewer, and running requests wait less "
        "for long inputs, more, and long inputs wait less",
    )
    packed_folder: str = Field(
        default=EngineSettings.packed_folder,
        min_length=1,
        description="folder in which models are kept as native kernels read them, once for all processes and starts: auto "
        "is dqbart in the user's cache ($XDG_CACHE_HOME), none has each replica pack its own",
    )
    load: Load = Field(default="at-start", description="when models are loaded: at-start, or at their first-use")
    unload_after: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="seconds without a request after which a model is unloaded, until its next use (default: never)",
    )
    max_model_bytes: Positive | None = Field(
        default=None,
        description="bytes of the weights' files of the models that a replica has in memory; for another one, that which is "
        "unused the longest is unloaded (default: no limit)",
    )
    max_step_seconds: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="seconds after which a step of a model is taken to hang, and its replica is replaced (default: 60, or "
        "20 times as long as any step before)",
    )
    max_inputs: Positive = Field(
        default=32, description="inputs in one request, and windows of its inputs that are answered at a time"
    )
    max_source_characters: Positive = Field(default=50_000, description="characters of one input")
    max_windows: Positive = Field(default=512, description="windows that an input may be split into with truncation = chunk")
    request_timeout: float = Field(
        default=120.0, gt=0, allow_inf_nan=False, description="seconds after which a request is given up"
    )
    grace: float = Field(
        default=20.0, description="seconds that requests in flight have to finish at shutdown", ge=0, allow_inf_nan=False
    )
    max_concurrent_requests: Positive = Field(
        default=GateSettings.max_concurrent_requests,
        description="requests that a replica answers at a time; more are refused at once (429)",
    )
    max_watchers: Positive = Field(
        default=GateSettings.max_watchers,
        description="streams over gRPC that a replica tells its health (Health/Watch); more are refused at once",
    )
    max_payload_bytes: Positive = Field(
        default=GateSettings.max_payload_bytes, description="bytes of a request's body or message (413)"
    )
    max_payload_bytes_in_flight: Positive = Field(
        default=GateSettings.max_payload_bytes_in_flight,
        description="bytes of the bodies and messages of all requests that a replica answers at a time; more are refused at "
        "once (429)",
    )
    api_keys: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="who may ask: NAME:HASH of each key, as `dqbart key NAME` prints it, repeated or separated by commas "
        "(default: everybody)",
    )
    api_keys_file: Path | None = Field(default=None, description="file with more of them, one a line; read at the start")
    open_health: bool = Field(default=True, description="health is told without a key")
    open_metrics: bool = Field(default=True, description="metrics are told without a key")
    log_level: LogLevel = Field(
        default="warning", description="least severe messages that are logged, Ray's too; info has a line for each request"
    )
    log_format: LogFormat = Field(default="console", description="console, or json: each line of the output is an object")
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL of a collector of OpenTelemetry traces (OTLP over HTTP), like http://localhost:4318; the OTEL_* "
        "variables do too (default: no traces)",
    )

    @field_validator("api_keys", mode="before")
    @classmethod
    def _list_keys(cls, value: object) -> object:
        # What is wrong is found later: a message about this value would repeat it, and it may have a key.
        if isinstance(value, str):
            return [each.strip() for each in value.split(",")]
        return [f"{each}" for each in value] if isinstance(value, list) else ["nothing that can be read"]

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return folder_list(value)

    @field_validator("models")
    @classmethod
    def _check_models(cls, value: list[str]) -> list[str]:
        check_folders(value)
        return value

    @field_validator("packed_folder")
    @classmethod
    def _absolute(cls, value: str) -> str:
        # Replicas work in other folders.
        return value if value in ("auto", "none") else str(Path(value).expanduser().absolute())

    @model_validator(mode="after")
    def _check_keys(self) -> Serve:
        self.keys()
        return self

    @model_validator(mode="after")
    def _check_ports(self) -> Serve:
        if self.http_port == self.grpc_port:
            raise ValueError(f"http_port and grpc_port are both {self.http_port}: two ports are needed")
        if self.metrics_port and self.metrics_port in (self.http_port, self.grpc_port):
            raise ValueError(f"metrics_port = {self.metrics_port}: it is a port of the service, another one is needed")
        return self

    @model_validator(mode="after")
    def _check_limits(self) -> Serve:
        """Limits that leave nothing of each other: what one of them allows would always be refused by the other."""
        for lower, why, upper in (
            ("max_inputs", "a request of so many inputs could never be queued", "max_queued_requests"),
            ("max_source_characters", "an input of so many characters could never be sent", "max_payload_bytes"),
            ("max_payload_bytes", "a body of so many bytes could never be read", "max_payload_bytes_in_flight"),
        ):
            if getattr(self, lower) > getattr(self, upper):
                given = f"{lower} = {getattr(self, lower)} is above {upper} = {getattr(self, upper)}"
                raise ValueError(f"{given}: {why}; lower {lower}, or raise {upper}")
        return self

    @property
    def named_folders(self) -> list[tuple[str, Path]]:
        """Name and folder of each of `models`."""
        return [named_folder(each) for each in self.models]

    @property
    def defaults(self) -> dict[Task, str | None]:
        """Task → the model chosen for requests that name none."""
        return {
            "translation": self.default_translation,
            "summarization": self.default_summarization,
            "question-answering": self.default_question_answering,
        }

    @property
    def engine(self) -> EngineSettings:
        """Of each model's engine."""
        return EngineSettings(**{field.name: getattr(self, field.name) for field in fields(EngineSettings)})

    @property
    def residence(self) -> Residence:
        """When models are in memory."""
        from serving.server.residents import Residence

        return Residence(self.load == "at-start", self.unload_after, self.max_model_bytes)

    @property
    def limits(self) -> Limits:
        """What one request may ask of the server."""
        from serving.service.service import Limits

        return Limits(
            max_inputs=self.max_inputs,
            max_source_characters=self.max_source_characters,
            max_windows=self.max_windows,
            max_rows=self.max_batch_rows,
            request_timeout_seconds=self.request_timeout,
        )

    @property
    def gate(self) -> GateSettings:
        """What stands before every request."""
        names = [field.name for field in fields(GateSettings) if field.name != "keys"]
        return GateSettings(keys=self.keys(), **{name: getattr(self, name) for name in names})

    @property
    def logs(self) -> LogSettings:
        return LogSettings(self.log_format, self.log_level)

    def keys(self) -> tuple[ApiKey, ...]:
        """The API keys of both settings. Raises ValueError naming the setting and the entry at fault."""
        return all_keys(self.api_keys, self.api_keys_file)

    @property
    def threads_per_replica(self) -> int:
        if self.threads is not None:
            return self.threads
        return max(1, available_threads() // self.replicas)

    def cli_cmd(self) -> None:
        from serving.server.processes import end_process
        from serving.server.signals import Signals

        # Before the libraries that are imported next start threads.
        signals = Signals(end_process)
        from serving.server.run import serve_until_stopped

        # The flags are those that the process was started with.
        serve_until_stopped(self, lambda: read_settings(Serve, "serve", sys.argv[2:]), signals)
