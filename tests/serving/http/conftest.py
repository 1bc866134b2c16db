"""The application over a service that notes what it is asked, for tests of how other servers' requests are understood."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from serving.http.routes import build_app
from serving.observability.metrics import Metrics
from serving.service.access import ApiKey
from serving.service.gate import Gate, GateSettings
from serving.service.models import Models, ServedModel, check_model, default_models
from serving.service.requests import TaskRequest
from serving.service.results import GenerateResponse, Output, Result, Timings, Token, TruncationReport
from serving.service.service import Limits, Service

LIMITS = Limits(max_inputs=3, max_source_characters=100, max_windows=2, max_rows=8, request_timeout_seconds=30)


def result(text: str, *more: str) -> Result:
    """What an input gave: one output or several, of two tokens each that have half the probability together."""
    tokens = [Token(id=1, token="a", log_probability=-0.25), Token(id=2, token="</s>", log_probability=-0.4431471805599453)]
    outputs = [
        Output(text=each, generated_tokens=2, finish_reason="eos", score=-0.5, tokens=tokens) for each in (text, *more)
    ]
    return Result(
        **dict(outputs[0]),
        source_tokens=3,
        timings=Timings(queue=0, encode=0, decode=0),
        truncation=TruncationReport(applied="none", windows=1, source_tokens_total=3, source_tokens_used=3),
        sequences=outputs if more else None,
    )


class Recording(Service):
    """Answers every request for generation with `results`, and keeps it."""

    def __init__(self, models: Models) -> None:
        super().__init__(models, LIMITS, Metrics())
        self.asked: list[TaskRequest] = []
        self.results: Sequence[Result] = (result("out"),)

    async def generate(self, request: TaskRequest, protocol: Any) -> GenerateResponse:
        assert protocol == "http"
        self.asked.append(request)
        return GenerateResponse(model="any", results=list(self.results))

    def call(self, method: str, path: str, keys: tuple[ApiKey, ...] = (), **arguments: Any) -> httpx.Response:
        """Send one request to the application."""

        async def send() -> httpx.Response:
            app = build_app(self, Gate(GateSettings(keys=keys)))
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(send())


@pytest.fixture
def recording(artifacts: dict[str, Path]) -> Callable[..., Recording]:
    def recording(*names: str) -> Recording:
        """Over the named artifacts, or all of them."""
        checked = [check_model(name, artifacts[name], 8) for name in names or artifacts]
        engine: Any = SimpleNamespace(loaded=True)
        served = [ServedModel(model, model.codec(), engine) for model in checked]
        return Recording(Models(served, default_models(checked, {})))

    return recording
