"""Continuous batching: a request joins the batch at the next step and leaves it when it is finished.

`step()` is the whole flow. It is called by one thread; `submit`, `cancel` and `stats` may be called by any, and wait for no
computation: the lock is held for bookkeeping only.
"""

from __future__ import annotations

import itertools
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from quant.artifact import read_artifact
from serving.engine.admission import check_request
from serving.engine.errors import GenerationFailed
from serving.engine.model import Model
from serving.engine.model_runner import ModelRunner
from serving.engine.request import Request, Result
from serving.engine.scheduler import Claim, Scheduler
from serving.engine.search import Search, search_for
from serving.engine.settings import EngineSettings

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineStats:
    """What an engine has to do at this moment."""

    queued_requests: int
    """Submitted, not yet encoded."""
    running_requests: int
    batch_rows: int
    """Rows that the last step decoded, 0 when nothing runs."""


@dataclass(frozen=True)
class Finished:
    """The end of one request: what was generated, or the fault that ended it."""

    request_id: int
    outcome: Result | GenerationFailed


@dataclass
class _Generation:
    """A request on its way; `search` and the times are filled by the engine as it goes."""

    request_id: int
    request: Request
    search: Search
    submitted: float = field(default_factory=perf_counter)
    encode_started: float = 0.0
    decode_started: float = 0.0


class Engine:
    """Requests in, results out, a step at a time."""

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        self._model = model
        self._settings = settings
        self._runner = ModelRunner(model)
        self._scheduler = Scheduler(settings)
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._generations: dict[int, _Generation] = {}
        self._cancelled: set[int] = set()
        self._batch: list[_Generation] = []
        """In the order of the runner's sources; touched by the stepping thread only."""
        self.decoded_rows = 0
        """Rows that the last step decoded."""

    def submit(self, request: Request) -> int:
        """Queue a request; its id. Raises InvalidRequest, SourceTooLong, EngineFull."""
        check_request(request, self._model.architecture, self._settings)
        with self._lock:
            generation = _Generation(next(self._ids), request, search_for(request.parameters))
            self._scheduler.submit(Claim(generation.request_id, request.parameters.num_beams, len(request.source_ids)))
            self._generations[generation.request_id] = generation
        return generation.request_id

    def cancel(self, request_id: int) -> None:
        """Drop a request wherever it is, by the next step; a finished one is left alone."""
        with self._lock:
            if request_id in self._generations:
                self._cancelled.add(request_id)

    def stats(self) -> EngineStats:
        with self._lock:
            running = self._scheduler.running
            return EngineStats(self._scheduler.waiting, running, self.decoded_rows if running else 0)

    @property
    def has_work(self) -> bool:
        with self._lock:
            return bool(self._generations)

    @torch.inference_mode()
    def step(self) -> list[Finished]:
        """Drop, admit and encode, decode one token a row, advance; the requests that came to their end."""
        try:
            self._drop_cancelled()
            self._encode(self._admit())
            return self._advance()
        except Exception as fault:
            # The batch's tensors may be half-written: nothing in it can be trusted, everything else goes on.
            return self._fail_batch(fault)

    def _drop_cancelled(self) -> None:
        with self._lock:
            cancelled, self._cancelled = self._cancelled, set()
            for request_id in cancelled & self._generations.keys():
                self._forget(request_id)
        if any(generation.request_id in cancelled for generation in self._batch):
            self._keep(
                [[] if each.request_id in cancelled else list(range(len(each.search.tokens))) for each in self._batch]
            )

    def _admit(self) -> list[_Generation]:
        with self._lock:
            admitted = [self._generations[request_id] for request_id in self._scheduler.admit()]
        self._batch += admitted
        return admitted

    def _encode(self, admitted: list[_Generation]) -> None:
        if not admitted:
            return
        started = perf_counter()
        self._runner.encode([generation.request.source_ids for generation in admitted])
        ended = perf_counter()
        for generation in admitted:
            generation.encode_started, generation.decode_started = started, ended

    def _advance(self) -> list[Finished]:
        self.decoded_rows = self._runner.rows
        if not self._batch:
            return []
        logits = self._runner.decode([token for generation in self._batch for token in generation.search.tokens])
        shares = torch.split(logits, [len(generation.search.tokens) for generation in self._batch])
        advanced = [_advanced(generation, share) for generation, share in zip(self._batch, shares, strict=True)]
        self._keep([parents for parents, _ in advanced])
        finished = [end for _, end in advanced if end is not None]
        self._finish(finished)
        return finished

    def _keep(self, parents: list[list[int]]) -> None:
        self._runner.select(parents)
        self._batch = [generation for generation, rows in zip(self._batch, parents, strict=True) if rows]

    def _finish(self, finished: list[Finished]) -> None:
        with self._lock:
            for end in finished:
                self._forget(end.request_id)

    def _fail_batch(self, fault: Exception) -> list[Finished]:
        failed = [_failed(generation, fault) for generation in self._batch]
        self._runner.clear()
        self._batch = []
        self._finish(failed)
        return failed

    def _forget(self, request_id: int) -> None:
        self._generations.pop(request_id, None)
        self._scheduler.remove(request_id)


def load_engine(artifact: Path, settings: EngineSettings) -> Engine:
    """An engine over the artifact in a folder. Raises ArtifactError, UnsupportedModel."""
    return Engine(Model(read_artifact(artifact)), settings)


def _advanced(generation: _Generation, logits: Tensor) -> tuple[list[int], Finished | None]:
    """Which of the request's rows continue; when none does, its end. A fault in its search is the end of it alone."""
    try:
        parents = generation.search.advance(logits)
        return parents, None if parents else Finished(generation.request_id, _result(generation))
    except Exception as fault:
        return [], _failed(generation, fault)


def _result(generation: _Generation) -> Result:
    best = generation.search.best()
    return Result(
        token_ids=best.token_ids,
        finish_reason=best.finish_reason,
        score=best.score,
        queue_seconds=generation.encode_started - generation.submitted,
        encode_seconds=generation.decode_started - generation.encode_started,
        decode_seconds=perf_counter() - generation.decode_started,
    )


def _failed(generation: _Generation, fault: Exception) -> Finished:
    _LOG.error("request %d failed", generation.request_id, exc_info=fault)
    failure = GenerationFailed(f"a fault inside the engine ended the request: {type(fault).__name__}")
    failure.__cause__ = fault
    return Finished(generation.request_id, failure)
