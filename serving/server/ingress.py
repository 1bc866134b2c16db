"""The deployment: one class that Ray Serve runs in each replica, for both protocols, with its engines beside it.

The engines are in a process of the replica's own: what computes and what talks to clients would wait for each other's Python
in one process. A deployment of their own would cost each request a hop through Ray (about 8 ms here). Ray calls a method by
the last segment of the gRPC path, so the names of those methods are the .proto's.

Which models are served comes as the deployment's `user_config`: Ray hands a changed one to the running replicas. A replica
gets no requests while Ray waits for `reconfigure`, so that only starts the exchange, and the old models serve until its end.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

from fastapi import FastAPI
from grpc_health.v1 import health_pb2
from ray import serve

from protos.dqbart.v1 import seq2seq_pb2 as pb
from serving.engine.settings import EngineSettings, RunnerName
from serving.http.routes import build_app
from serving.observability.exporter import expose
from serving.observability.logs import LogSettings, configure_logs
from serving.observability.metrics import Metrics
from serving.observability.traces import Traces, no_tracing, otlp_exporter, traces_wanted
from serving.rpc.calls import Rpc
from serving.rpc.messages import Unread
from serving.server.engines.process import EngineProcess
from serving.server.live_models import LiveModels, open_model
from serving.server.model_table import ModelTable
from serving.server.residents import Residence, Residents
from serving.service.gate import Gate, GateSettings
from serving.service.models import CheckedModel, ModelError, Models, ServedModel
from serving.service.service import Limits, Service

_LOG = logging.getLogger(__name__)


@serve.deployment
@serve.ingress()
class Ingress:
    """A replica: a process with an engine for each model, the service, and both interfaces to it."""

    def __init__(
        self,
        limits: Limits,
        engine_settings: EngineSettings,
        threads: int,
        max_step_seconds: float | None,
        runner: RunnerName,
        replicas: int,
        metrics_address: tuple[str, int] | None,
        residence: Residence,
        gate: GateSettings,
        logs: LogSettings,
        otlp_endpoint: str | None,
    ) -> None:
        configure_logs(logs)
        self._traces = Traces(otlp_exporter(otlp_endpoint)) if traces_wanted(otlp_endpoint) else None
        self._gate = Gate(gate, self._traces or no_tracing)
        engines = EngineProcess(threads, logs, _end_replica, max_step_seconds)
        self._metrics = metrics = Metrics(replicas)
        if metrics_address is not None:
            expose(metrics.registry, *metrics_address)
        self._models = models = Models()
        self._residents = residents = Residents(residence)

        def opened(model: CheckedModel) -> ServedModel:
            open_port = partial(engines.open, settings=engine_settings, runner=runner)
            return open_model(model, lambda model: open_port(model.folder), metrics, residents)

        self._live = LiveModels(models, opened, limits.max_rows)
        self._service = Service(models, limits, metrics)
        self._rpc = Rpc(self._service, self._gate)
        self._wanted: dict[str, Any] | None = None
        self._exchange: asyncio.Task[None] | None = None

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serve the models of a ModelTable: at the start before this returns, later as soon as they are open.

        Raises at the start what stops it; later a fault is logged, and the models are served that were before.
        """
        first, self._wanted = self._wanted is None, user_config
        exchange = self._exchange = asyncio.create_task(self._apply(user_config))
        if first:
            await exchange
        else:
            exchange.add_done_callback(_log_fault)

    async def _apply(self, user_config: dict[str, Any]) -> None:
        await self._live.apply(ModelTable.model_validate(user_config))
        self._residents.watch_unused()
        self._metrics.show_models([self._models[name].checked for name in self._models.names])

    async def exchanged(self) -> tuple[dict[str, Any] | None, str | None]:
        """Wait for the last exchange of models: the `user_config` that it was for, and the fault that it ended with."""
        exchange, wanted = self._exchange, self._wanted
        if exchange is not None:
            await asyncio.wait([exchange])
        fault = exchange.exception() if exchange is not None else None
        return wanted, None if fault is None else str(fault)

    async def drain(self) -> int:
        """Take no more requests; how many are being answered. Where none is, the spans of all have been sent."""
        self._service.door.close()
        if not (inside := self._service.door.inside) and self._traces is not None:
            await asyncio.to_thread(self._traces.flush)
        return inside

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_app(self._service, self._gate)

    def check_health(self) -> None:
        """Asked by Ray, which replaces the replica when this raises."""
        if self._wanted is None:
            raise ModelError("the deployment's user_config names no models")
        self._service.check_health()

    async def Translate(self, request: Unread, grpc_context: Any) -> pb.GenerateResponse:
        return await self._rpc.translate(request, grpc_context)

    async def Summarize(self, request: Unread, grpc_context: Any) -> pb.GenerateResponse:
        return await self._rpc.summarize(request, grpc_context)

    async def Answer(self, request: Unread, grpc_context: Any) -> pb.GenerateResponse:
        return await self._rpc.answer(request, grpc_context)

    async def TranslateStream(self, request: Unread, grpc_context: Any) -> AsyncIterator[pb.StreamEvent]:
        async with aclosing(self._rpc.translate_stream(request, grpc_context)) as events:
            async for event in events:
                yield event

    async def SummarizeStream(self, request: Unread, grpc_context: Any) -> AsyncIterator[pb.StreamEvent]:
        async with aclosing(self._rpc.summarize_stream(request, grpc_context)) as events:
            async for event in events:
                yield event

    async def AnswerStream(self, request: Unread, grpc_context: Any) -> AsyncIterator[pb.StreamEvent]:
        async with aclosing(self._rpc.answer_stream(request, grpc_context)) as events:
            async for event in events:
                yield event

    async def ListModels(self, request: Unread, grpc_context: Any) -> pb.ListModelsResponse:
        return await self._rpc.list_models(request, grpc_context)

    async def Check(self, request: Unread, grpc_context: Any) -> health_pb2.HealthCheckResponse:
        return await self._rpc.check(request, grpc_context)

    async def Watch(self, request: Unread, grpc_context: Any) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        async for response in self._rpc.watch(request, grpc_context):
            yield response


def _end_replica() -> None:
    """A replica lives as long as its engines: its requests are then repeated elsewhere, and Ray replaces it."""
    os._exit(1)


def _log_fault(exchange: asyncio.Task[None]) -> None:
    if not exchange.cancelled() and (fault := exchange.exception()):
        _LOG.error("the models stay as they were: %s", fault, exc_info=fault)
