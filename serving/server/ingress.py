"""The deployment: one class that Ray Serve runs in each replica, for both protocols, with the engines inside.

An engine in a deployment of its own would cost each request a second hop between processes (about 8 ms here), and the
models are small. Ray calls a method by the last segment of the gRPC path, so the names of those methods are the .proto's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from fastapi import FastAPI
from grpc_health.v1 import health_pb2
from ray import serve

from protos.dqbart.v1 import seq2seq_pb2 as pb
from quant.card import Task
from serving.engine.async_engine import AsyncEngine
from serving.engine.engine import load_engine
from serving.engine.settings import EngineSettings, RunnerName
from serving.http.routes import build_app
from serving.observability.metrics import Metrics
from serving.rpc.calls import Rpc
from serving.service.models import CheckedModel, Models, ServedModel
from serving.service.service import Limits, Service


@serve.deployment
@serve.ingress()
class Ingress:
    """A replica: an engine for each model, the service, and both interfaces to it."""

    def __init__(
        self,
        models: Sequence[CheckedModel],
        defaults: dict[Task, str],
        limits: Limits,
        engine_settings: EngineSettings,
        threads: int,
        runner: RunnerName,
    ) -> None:
        torch.set_num_threads(threads)
        metrics = Metrics()
        served = [_opened(model, engine_settings, runner, metrics) for model in models]
        self._service = Service(Models(served, defaults), limits, metrics)
        self._rpc = Rpc(self._service)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_app(self._service)

    def check_health(self) -> None:
        """Asked by Ray, which replaces the replica when this raises."""
        self._service.check_health()

    async def Translate(self, request: pb.TranslateRequest, grpc_context: Any) -> pb.GenerateResponse:
        return await self._rpc.translate(request, grpc_context)

    async def Summarize(self, request: pb.SummarizeRequest, grpc_context: Any) -> pb.GenerateResponse:
        return await self._rpc.summarize(request, grpc_context)

    async def Answer(self, request: pb.AnswerRequest, grpc_context: Any) -> pb.GenerateResponse:
        return await self._rpc.answer(request, grpc_context)

    async def ListModels(self, request: pb.ListModelsRequest, grpc_context: Any) -> pb.ListModelsResponse:
        return await self._rpc.list_models(request, grpc_context)

    async def Check(self, request: health_pb2.HealthCheckRequest, grpc_context: Any) -> health_pb2.HealthCheckResponse:
        return await self._rpc.check(request, grpc_context)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, grpc_context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        async for response in self._rpc.watch(request, grpc_context):
            yield response


def _opened(model: CheckedModel, settings: EngineSettings, runner: RunnerName, metrics: Metrics) -> ServedModel:
    # On a thread that ends: OpenMP keeps a team of threads for every living thread that ever computed, and teams with more
    # members than there are cores make each loop wait for a wake-up. Steps took twice as long.
    with ThreadPoolExecutor(1) as loader:
        engine = loader.submit(load_engine, model.folder, settings, runner).result()

    def record_step(rows: int) -> None:
        metrics.record_step(model.name, rows, engine.stats())

    record_step(0)
    return ServedModel(model, model.codec(), AsyncEngine(engine, record_step))
