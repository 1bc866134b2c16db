"""The service over real codecs and, unless a test brings another, the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.engine.async_engine import AsyncEngine
from serving.engine.engine import load_engine
from serving.engine.loop import EngineLoop
from serving.engine.settings import EngineSettings
from serving.observability.metrics import Metrics
from serving.service.models import Generator, Models, ServedModel, check_model, default_models
from serving.service.service import Limits, Service
from tests.serving.service.rig import LIMITS, Build


@pytest.fixture(scope="module")
def engines(artifacts: dict[str, Path]) -> Iterator[dict[str, AsyncEngine]]:
    loop = EngineLoop()
    yield {name: AsyncEngine(loop.add(load_engine(folder, EngineSettings()))) for name, folder in artifacts.items()}
    loop.close()


@pytest.fixture
def build(artifacts: dict[str, Path], engines: dict[str, AsyncEngine]) -> Build:
    def build(engine: Generator | None = None, limits: Limits = LIMITS) -> Service:
        checked = [check_model(name, folder, 8) for name, folder in artifacts.items()]
        served = [ServedModel(model, model.codec(), engine or engines[model.name]) for model in checked]
        return Service(Models(served, default_models(checked, {})), limits, Metrics())

    return build
