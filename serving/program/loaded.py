"""A model that a program has loaded: its engine, and the way of one input through the service to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, get_args

from serving.engine.async_engine import AsyncEngine
from serving.engine.engine import load_engine
from serving.engine.errors import EngineClosed, InvalidSettings
from serving.engine.memory import give_back_freed_memory
from serving.engine.runners import prepare
from serving.engine.settings import EngineSettings, RunnerName
from serving.program.calls import Call, closed
from serving.program.options import request_fields
from serving.program.process import Shared, check_process, joined, left
from serving.service.models import ModelError, ServedModel, check_model
from serving.service.news import Tell
from serving.service.requests import TaskRequest
from serving.service.results import Result


class Loaded:
    """What both faces of a model, the plain and the async one, work with. Safe to use from any thread."""

    def __init__(self, folder: Path, settings: EngineSettings, runner: RunnerName, threads: int | None) -> None:
        """Raises ModelError, RunnerUnavailable, InvalidSettings, ForkedError."""
        if runner not in get_args(RunnerName):
            raise InvalidSettings(f"runner is {runner!r}, one of {', '.join(get_args(RunnerName))} is expected")
        if not folder.is_dir():
            what = "is no folder" if folder.exists() else "does not exist"
            raise ModelError(f"{folder} {what}: an artifact's folder is expected")
        self._settings = settings
        self._shared: Shared | None = None
        shared = joined(self, threads, settings.max_cache_bytes)
        self._pid = shared.pid
        try:
            # Read once, here: the engine maps what is left for it.
            look = partial(prepare, settings=settings, name=runner)
            checked = check_model(folder.resolve().name, folder, settings.max_batch_rows, look)
            port = shared.engines.add(load_engine(folder, settings, runner, shared.budget), checked.name)
            engine = AsyncEngine(port)
            self.served = ServedModel(checked, checked.codec(), engine)
        except BaseException:
            left(self)
            raise
        self._shared = shared
        give_back_freed_memory()

    @property
    def name(self) -> str:
        return self.served.name

    @property
    def most_at_a_time(self) -> int:
        """Inputs on their way to keep the batch full: as many as are decoded, and as many again to be encoded meanwhile."""
        return 2 * self._settings.max_batch_rows

    def call(self, kind: type[TaskRequest], options: Mapping[str, Any], streamed: bool = False) -> Call:
        """What answers the inputs of one call. Raises ServiceError, ForkedError."""
        self._running()
        most, rows = self.most_at_a_time, self._settings.max_batch_rows
        return Call(self.served, kind, request_fields(kind, options), max_rows=rows, most_at_a_time=most, streamed=streamed)

    def submit(self, call: Call, given: object, tell: Tell | None = None) -> Future[Result]:
        """Answer an input; cancelling the future cancels that. Raises ServiceError when the model is closed."""
        shared = self._running()
        try:
            return shared.run(call.answer(given, tell))
        except EngineClosed:
            raise closed(self.served) from None

    def close(self) -> None:
        """Stop after the step in progress; what is on its way ends with a ServiceError. May be called again.

        In a process that was forked there is nothing to close.
        """
        shared, self._shared = self._shared, None
        if shared is not None and os.getpid() == self._pid:
            self.served.engine.close()
            left(self)
            give_back_freed_memory()

    def _running(self) -> Shared:
        check_process(self._pid)
        if self._shared is None:
            raise closed(self.served)
        return self._shared
