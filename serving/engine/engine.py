"""Continuous batching: a request joins the batch at the next step and leaves it when it is finished.

`step()` is the whole flow. It is called by one thread; `submit`, `cancel` and `stats` may be called by any, and wait for no
computation: the lock is held for bookkeeping only.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from quant.artifact import read_artifact
from quant.layout import Architecture
from serving.engine.admission import check_cache_bytes, check_request
from serving.engine.cache_budget import CacheBudget
from serving.engine.errors import GenerationFailed
from serving.engine.generation import Generation
from serving.engine.memory import give_back_freed_memory
from serving.engine.request import Request, Result
from serving.engine.runner import Candidates, Runner
from serving.engine.runners import runner_for
from serving.engine.scheduler import Scheduler
from serving.engine.settings import EngineSettings, RunnerName

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineStats:
    """What an engine has to do at this moment."""

    queued_requests: int = 0
    """Submitted, their encoding not yet started."""
    running_requests: int = 0
    """Being encoded or decoded."""
    batch_rows: int = 0
    """Rows that the last step decoded, 0 when nothing runs."""
    cache_bytes: int = 0
    """What the caches of the running requests take."""
    max_cache_bytes: int = 0
    """The most that these may take, together with those of the engines that share the budget."""
    longest_stall_seconds: float = 0.0
    """The longest that rows waited for encoding between two of their decode steps, since the engine was made."""
    set_back_requests: int = 0
    """How often a running request had to give way for want of memory and was set back to the queue, since the engine was
    made."""


@dataclass(frozen=True)
class Emitted:
    """Tokens of a streaming request, as soon as they are certain to be in its result."""

    request_id: int
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class Finished:
    """The end of one request: what was generated, or the fault that ended it."""

    request_id: int
    outcome: Result | Exception
    """Of an engine a Result or GenerationFailed; from elsewhere also what `submit` raises."""


Event = Emitted | Finished


class Engine:
    """Requests in, events out, a step at a time."""

    def __init__(self, runner: Runner, settings: EngineSettings, budget: CacheBudget | None = None) -> None:
        """`budget` is shared with other engines; without one, the engine has its own, of `settings.max_cache_bytes`."""
        self._runner = runner
        self._settings = settings
        self._budget = budget or CacheBudget(settings.max_cache_bytes)
        self._scheduler = Scheduler(settings, runner.architecture.encoder_layers, self._budget)
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._generations: dict[int, Generation] = {}
        # These two, like the runner, are touched by the stepping thread only.
        self._encoding: list[Generation] = []
        self._batch: list[Generation] = []
        """In the order of the runner's sources."""
        self._longest_stall = 0.0
        self.decoded_rows = 0
        """Rows that the last step decoded."""

    @property
    def architecture(self) -> Architecture:
        """Of the model."""
        return self._runner.architecture

    def submit(self, request: Request, request_id: int | None = None) -> int:
        """Queue a request; its id, a new one unless given. Raises InvalidRequest, SourceTooLong, EngineFull."""
        runner = self._runner
        check_request(request, runner.architecture, self._settings)
        generation = Generation.of(-1, request, runner)
        check_cache_bytes(runner.cache_bytes(generation.source, generation.source.positions), self._budget.max_bytes)
        with self._lock:
            generation.request_id = next(self._ids) if request_id is None else request_id
            self._scheduler.submit(generation.claim(runner))
            self._generations[generation.request_id] = generation
        return generation.request_id

    def cancel(self, request_id: int) -> None:
        """Drop a request wherever it is: a queued one now, another by the next step; a finished one is left alone."""
        with self._lock:
            if self._scheduler.withdraw(request_id):
                del self._generations[request_id]
            elif request_id in self._generations:
                self._generations[request_id].departed = True

    def stats(self) -> EngineStats:
        with self._lock:
            return EngineStats(
                queued_requests=self._scheduler.waiting,
                running_requests=self._scheduler.admitted,
                batch_rows=self.decoded_rows if self._scheduler.admitted else 0,
                cache_bytes=self._scheduler.cache_bytes,
                max_cache_bytes=self._budget.max_bytes,
                longest_stall_seconds=self._longest_stall,
                set_back_requests=self._scheduler.set_back_requests,
            )

    @property
    def has_work(self) -> bool:
        with self._lock:
            return bool(self._generations)

    def step(self) -> list[Event]:
        """Drop those who left; encode those who come, or a slice of it; decode one token a row; tell what came of it.

        Nothing is decoded while another engine's request is to give way to one of this engine's.
        """
        try:
            self._drop_departed()
            self._give_way()
            self._encode()
            events = self._decode() if self._have_room() else self._rest()
            self._keep_spare()
            return events
        except Exception as fault:
            # The runner's tensors may be half-written: nothing in them can be trusted, everything else goes on.
            return self._fail_all(fault)

    def _drop_departed(self) -> None:
        # Read once: others may leave at any moment.
        departed = {generation.request_id: generation for generation in self._batch if generation.departed}
        if departed:
            kept = [range(0 if each.request_id in departed else len(each.search.tokens)) for each in self._batch]
            self._keep([list(rows) for rows in kept])
            self._release(departed.values())
        if self._encoding and all(generation.departed for generation in self._encoding):
            self._runner.abandon()
            self._forget_encoding()

    def _give_way(self) -> bool:
        """Set back those for whose memory earlier ones have asked; whether there were any."""
        with self._lock:
            ids = set(self._scheduler.giving_way())
        if not ids:
            return False
        leaving = [each for each in self._batch if each.request_id in ids]
        if leaving:
            rows = [range(0 if each.request_id in ids else len(each.search.tokens)) for each in self._batch]
            self._keep([list(kept) for kept in rows])
        if any(each.request_id in ids for each in self._encoding):
            # What is encoded together goes together.
            self._runner.abandon()
            leaving += self._encoding
            self._encoding = []
        for generation in leaving:
            generation.begin_again(self._runner)
        with self._lock:
            for generation in leaving:
                if generation.departed:
                    del self._generations[generation.request_id]
                    self._scheduler.release(generation.request_id)
                else:
                    self._scheduler.set_back(generation.claim(self._runner))
        return bool(leaving)

    def _have_room(self) -> bool:
        """Claim room for the next position of every row; False while that is to come from other engines."""
        full = {each.request_id: each for each in self._batch if each.positions == each.room}
        if not full:
            return True
        with self._lock:
            earliest_first = self._scheduler.by_arrival(full)
        for request_id in earliest_first:
            generation = full[request_id]
            while any(each is generation for each in self._batch):
                if self._grow(generation):
                    break
                if not self._give_way():
                    return False
        return True

    def _grow(self, generation: Generation) -> bool:
        room = generation.room
        generation.grow(self._runner)
        with self._lock:
            if self._scheduler.grow(generation.request_id, generation.claim(self._runner).next_bytes):
                return True
        generation.room = room
        return False

    def _rest(self) -> list[Event]:
        self.decoded_rows = 0
        return []

    def _keep_spare(self) -> None:
        """What the runner keeps for sources to come is for a busy engine, and claims come before it."""
        if spare := self._runner.spare_bytes:
            with self._lock:
                kept = self._scheduler.keep(spare if self._batch or self._encoding else 0)
            if kept < spare:
                self._runner.trim(kept)

    def _encode(self) -> None:
        started, rows_wait = perf_counter(), bool(self._batch)
        if not self._encoding:
            self._begin(started)
        if self._encoding:
            with self._lock:
                layers = self._scheduler.take_layers()
            if self._runner.encode(layers):
                self._join()
            if rows_wait:
                self._longest_stall = max(self._longest_stall, perf_counter() - started)

    def _begin(self, started: float) -> None:
        with self._lock:
            self._encoding = [self._generations[request_id] for request_id in self._scheduler.admit()]
        if self._encoding:
            for generation in self._encoding:
                generation.encoding_starts(started)
            self._runner.begin([generation.source for generation in self._encoding])

    def _join(self) -> None:
        ended = perf_counter()
        for generation in self._encoding:
            generation.decoding_starts(ended)
        self._batch += self._encoding
        self._encoding = []
        with self._lock:
            self._scheduler.encoded()
        # Who left while being encoded with others has joined with them.
        self._drop_departed()

    def _decode(self) -> list[Event]:
        self.decoded_rows = self._runner.rows
        if not self._batch:
            return []
        tokens = [token for generation in self._batch for token in generation.search.tokens]
        found = self._runner.decode(tokens, [generation.wanted for generation in self._batch])
        for generation in self._batch:
            generation.positions += 1
        advanced = [_advanced(generation, candidates) for generation, candidates in zip(self._batch, found, strict=True)]
        finished = [generation for generation, (parents, _) in zip(self._batch, advanced, strict=True) if not parents]
        self._keep([parents for parents, _ in advanced])
        self._release(finished)
        return [event for _, events in advanced for event in events]

    def _keep(self, parents: list[list[int]]) -> None:
        self._runner.select(parents)
        self._batch = [generation for generation, rows in zip(self._batch, parents, strict=True) if rows]

    def _release(self, generations: Iterable[Generation]) -> None:
        with self._lock:
            for generation in generations:
                del self._generations[generation.request_id]
                self._scheduler.release(generation.request_id)

    def _forget_encoding(self) -> None:
        with self._lock:
            for generation in self._encoding:
                del self._generations[generation.request_id]
            self._scheduler.abandon()
        self._encoding = []

    def close(self) -> None:
        """Forget everything and give back what was claimed; nothing is told of it. Called when no step is running."""
        with self._lock:
            self._generations.clear()
            self._scheduler.close()
        self._encoding, self._batch = [], []
        self._runner.clear()

    def _fail_all(self, fault: Exception) -> list[Event]:
        """The end of everything that the runner holds, for those who still wait for it."""
        failed: list[Event] = [_failed(each, fault) for each in (*self._batch, *self._encoding) if not each.departed]
        self._runner.clear()
        self._forget_encoding()
        self._release(self._batch)
        self._batch = []
        return failed


def load_engine(
    artifact: Path, settings: EngineSettings, runner: RunnerName = "auto", budget: CacheBudget | None = None
) -> Engine:
    """An engine over the artifact in a folder. Raises ArtifactError, RunnerUnavailable."""
    engine = Engine(runner_for(read_artifact(artifact), settings, runner), settings, budget)
    give_back_freed_memory()
    return engine


def _advanced(generation: Generation, candidates: Candidates) -> tuple[list[int], list[Event]]:
    """Which of the request's rows continue, and what there is to tell. A fault in its search is the end of it alone."""
    search, request_id = generation.search, generation.request_id
    events: list[Event] = []
    try:
        parents = search.advance(candidates)
        generation.first_token = generation.first_token or perf_counter()
        if parents:
            generation.wanted = search.wanted()
        else:
            events = [Finished(request_id, generation.result())]
        if generation.request.stream and (token_ids := generation.news()):
            events.insert(0, Emitted(request_id, token_ids))
        return parents, events
    except Exception as fault:
        return [], [_failed(generation, fault)]


def _failed(generation: Generation, fault: Exception) -> Finished:
    _LOG.error("request %d failed", generation.request_id, exc_info=fault)
    failure = GenerationFailed(f"a fault inside the engine ended the request: {type(fault).__name__}")
    failure.__cause__ = fault
    return Finished(generation.request_id, failure)
