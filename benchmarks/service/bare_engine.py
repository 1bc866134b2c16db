"""The engine without a service around it, in a process of its own: the same requests, as token ids, awaited the same way.

It has a session of its own, as the server has: where others compute, too, Linux shares the cores among sessions.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.service.load import ANSWERED, Load, Outcome, drive
from benchmarks.service.works import Work
from serving.engine.async_engine import AsyncEngine
from serving.engine.errors import EngineFull
from serving.engine.loop import EngineLoop
from serving.engine.request import Request
from serving.engine.settings import EngineSettings, RunnerName

_LOADED: list[EngineSender] = []
"""Of an engine's process: the one engine, and what it is asked."""


class EngineSender:
    """Asks an engine in this process."""

    def __init__(self, engine: AsyncEngine, requests: Sequence[Request]) -> None:
        self._engine = engine
        self._requests = requests

    async def send(self, number: int) -> str:
        try:
            await self._engine.generate(self._requests[number % len(self._requests)])
        except EngineFull:
            return "full"
        return ANSWERED

    async def close(self) -> None:
        """The engine is kept for the next load."""


def load_bare_engine(folder: Path, work: Work, threads: int, runner: RunnerName) -> None:
    """Runs first in the engine's process. Raises what loading raises."""
    from concurrent.futures import ThreadPoolExecutor

    from serving.engine.engine import load_engine
    from serving.engine.threads import set_threads
    from serving.service.models import check_model

    os.setsid()
    set_threads(threads)
    settings = EngineSettings()
    # As in the server's replica: on a thread that ends, for OpenMP keeps a team of threads for each that lives.
    with ThreadPoolExecutor(1) as loader:
        engine = loader.submit(load_engine, folder, settings, runner).result()
        model = loader.submit(check_model, work.model, folder, settings.max_batch_rows).result()
    _LOADED.append(EngineSender(AsyncEngine(EngineLoop().add(engine)), work.for_the_engine(model, settings.max_batch_rows)))


def run_engine_load(load: Load) -> Outcome:
    """Send a load to the engine of this process."""
    return asyncio.run(drive(_LOADED[0], load))
