"""Exchanges the models of a running replica: opens the new ones beside the old, swaps, closes what nobody uses any more.

Meanwhile both are in memory. What is the same in both tables goes on as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from quant.artifact import ArtifactError
from quant.tokenizer_file import TokenizerError
from serving.engine.async_engine import AsyncEngine
from serving.engine.errors import EngineNotOpened
from serving.engine.memory import give_back_freed_memory
from serving.engine.port import EnginePort
from serving.observability.metrics import Metrics
from serving.server.model_table import ModelTable, fingerprint
from serving.server.residents import Resident, Residents
from serving.service.models import (
    CheckedModel,
    ModelError,
    Models,
    ServedModel,
    check_model,
    default_models,
    left_to_the_engine,
)

UNUSED_POLL_SECONDS = 0.05

_LOG = logging.getLogger(__name__)


def open_model(
    model: CheckedModel,
    open_port: Callable[[CheckedModel], EnginePort],
    metrics: Metrics,
    residents: Residents,
) -> ServedModel:
    """A checked model with its engine, loaded if it is to be by now. When it raises, no engine is left open."""

    def open_engine() -> AsyncEngine:
        port = open_port(model)
        try:
            return AsyncEngine(port, observer)
        except BaseException:
            port.close()
            raise

    residents.residence.check(model.name, model.size_bytes)
    codec = model.codec()
    told = partial(metrics.show_load, model)
    resident = Resident(model.name, model.size_bytes, open_engine, residents, told)
    observer = metrics.watch(model, resident.stats)
    if residents.residence.at_start and residents.fits(model.size_bytes):
        resident.load()
    return ServedModel(model, codec, resident)


class LiveModels:
    """The models of one replica, and the table that they were opened from. All of it is for one event loop."""

    def __init__(self, models: Models, open_model: Callable[[CheckedModel], ServedModel], max_rows: int) -> None:
        self._models = models
        self._open_model = open_model
        self._max_rows = max_rows
        self._contents: dict[str, str] = {}
        self._one_at_a_time = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def apply(self, table: ModelTable) -> None:
        """Serve what the table says. Raises ModelError, and serves what it did before."""
        async with self._one_at_a_time:
            opened, contents = await asyncio.to_thread(self._open, table)
            old = [self._models[name] for name in self._models.names]
            self._models.exchange(opened, default_models([model.checked for model in opened], table.defaults))
            self._contents = contents
            for model in old:
                if model not in opened:
                    closing = asyncio.create_task(self._close(model))
                    self._closing.add(closing)
                    closing.add_done_callback(self._closing.discard)

    def _open(self, table: ModelTable) -> tuple[list[ServedModel], dict[str, str]]:
        contents: dict[str, str] = {}
        checked: dict[str, CheckedModel] = {}
        kept: dict[str, ServedModel] = {}
        opened: list[ServedModel] = []
        try:
            for name, folder in table.models.items():
                contents[name] = fingerprint(folder)
                served = self._models[name] if name in self._models.names else None
                if served and served.checked.folder == folder and self._contents[name] == contents[name]:
                    kept[name] = served
                else:
                    checked[name] = check_model(name, folder, self._max_rows, left_to_the_engine)
            # All faults that can be found without opening anything come first.
            every = [kept[name].checked if name in kept else checked[name] for name in table.models]
            default_models(every, table.defaults)
            for model in checked.values():
                opened.append(self._open_model(model))
        except Exception as fault:
            for served in opened:
                served.engine.close()
            if isinstance(fault, (ArtifactError, EngineNotOpened, OSError, TokenizerError)):
                raise ModelError(str(fault)) from fault
            raise
        give_back_freed_memory()
        serving = kept | {model.name: model for model in opened}
        return [serving[name] for name in table.models], contents

    async def _close(self, model: ServedModel) -> None:
        while self._models.in_use(model):
            await asyncio.sleep(UNUSED_POLL_SECONDS)
        await asyncio.to_thread(model.engine.close)
        _LOG.info("%s: the engine that was replaced has ended", model.name)
