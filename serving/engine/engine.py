"""Continuous batching: a request joins the batch at the next step and leaves it when it is finished.

`step()` is the whole flow of an engine that is alone; where several take turns, their loop asks each for its two halves,
`encode` and `decode`. One thread computes; `submit`, `cancel` and `stats` may be called by any, and wait for no computation:
the lock is held for bookkeeping only.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from quant.artifact import open_artifact
from quant.layout import Architecture
from serving.engine.admission import check_cache_bytes, check_request
from serving.engine.at_work import AtWork, Room
from serving.engine.cache_budget import CacheBudget
from serving.engine.errors import GenerationFailed
from serving.engine.generation import Generation
from serving.engine.request import Request, Result
from serving.engine.runner import Candidates, Runner
from serving.engine.runners import runner_for
from serving.engine.scheduler import Scheduler
from serving.engine.settings import EngineSettings, RunnerName
from serving.engine.turn import Turn
from serving.engine.warm_up import warm_up

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
    """The longest that rows waited for encoding, of whichever model, between two of their decode steps, since the engine was
    made."""
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
        # These, like the runner, are touched by the stepping thread only.
        self._at_work = AtWork(runner)
        self._room = Room(self._at_work, runner, self._scheduler, self._lock, self._release)
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

    @property
    def rows(self) -> int:
        """Rows that will be decoded next."""
        return self._runner.rows

    @property
    def most_rows(self) -> int:
        """Rows that are decoded together at most."""
        return self._settings.max_batch_rows

    @property
    def waiting(self) -> int:
        """Requests whose encoding has not ended."""
        with self._lock:
            return self._scheduler.waiting + len(self._at_work.encoding)

    def step(self) -> list[Event]:
        """A turn of this engine alone: encode those who come, or a slice of it; decode one token a row; what came of it."""
        started, rows_wait = perf_counter(), self.rows > 0
        turn = Turn(rows_wait)
        failed = self.encode(turn)
        if rows_wait and turn.encoded_tokens:
            self.waited(perf_counter() - started)
        return [*failed, *self.decode()]

    def encode(self, turn: Turn) -> list[Event]:
        """Drop those who left, and encode those who come, as much of it as the turn leaves; whom a fault ended."""
        try:
            self._encode(turn)
            return []
        except Exception as fault:
            return self._fail_all(fault)

    def decode(self) -> list[Event]:
        """Decode one token a row; what came of it. No row is decoded while requests of other engines have to give way."""
        try:
            events = self._decode()
            self._room.keep_spare()
            return events
        except Exception as fault:
            return self._fail_all(fault)

    def waited(self, seconds: float) -> None:
        """Take note that rows of this engine waited so long for encoding."""
        self._longest_stall = max(self._longest_stall, seconds)

    def close(self) -> None:
        """Forget everything, and leave the budget to the other engines; nothing is told of it. What the runner has goes with
        the engine: a step that hangs may still use it."""
        with self._lock:
            self._generations.clear()
            self._scheduler.close()

    def _drop_departed(self) -> None:
        # Read once: others may leave at any moment.
        if departed := {generation.request_id for generation in self._at_work.batch if generation.departed}:
            self._release(self._at_work.drop(departed))
        if self._at_work.encoding and all(generation.departed for generation in self._at_work.encoding):
            self._release(self._at_work.abandon())

    def _encode(self, turn: Turn) -> None:
        self._drop_departed()
        self._room.give_way()
        if not self._at_work.encoding:
            self._begin(turn)
        if self._at_work.encoding:
            with self._lock:
                layers = self._scheduler.take_layers(turn)
            if layers and self._runner.encode(layers):
                self._join()
                turn.rows_wait = True

    def _begin(self, turn: Turn) -> None:
        with self._lock:
            admitted = [self._generations[request_id] for request_id in self._scheduler.admit(turn)]
        if admitted:
            self._at_work.begin(admitted)

    def _join(self) -> None:
        self._at_work.join()
        with self._lock:
            self._scheduler.encoded()
        # Who left while being encoded with others has joined with them.
        self._drop_departed()

    def _decode(self) -> list[Event]:
        self.decoded_rows = 0
        if not self._room.claim() or not self._at_work.batch:
            return []
        self.decoded_rows = self._runner.rows
        batch = self._at_work.batch
        tokens = [token for generation in batch for token in generation.search.tokens]
        found = self._runner.decode(tokens, [generation.wanted for generation in batch])
        advanced = [_advanced(generation, candidates) for generation, candidates in zip(batch, found, strict=True)]
        finished = [generation for generation, (parents, _) in zip(batch, advanced, strict=True) if not parents]
        self._at_work.keep([parents for parents, _ in advanced])
        self._release(finished)
        return [event for _, events in advanced for event in events]

    def _release(self, generations: Iterable[Generation]) -> None:
        with self._lock:
            for generation in generations:
                del self._generations[generation.request_id]
                self._scheduler.release(generation.request_id)

    def _fail_all(self, fault: Exception) -> list[Event]:
        """The end of everything that the runner holds, for those who still wait for it.

        Its tensors may be half-written: nothing in them can be trusted, everything else goes on.
        """
        batch, encoding = self._at_work.clear()
        self._release((*batch, *encoding))
        return [_failed(each, fault) for each in (*batch, *encoding) if not each.departed]


def load_engine(
    artifact: Path, settings: EngineSettings, runner: RunnerName = "auto", budget: CacheBudget | None = None
) -> Engine:
    """An engine over the artifact in a folder, which is ready for requests. Raises ArtifactError, RunnerUnavailable."""
    chosen = runner_for(open_artifact(artifact), settings, runner)
    warm_up(Engine(chosen, settings))
    return Engine(chosen, settings, budget)


def _advanced(generation: Generation, candidates: Candidates) -> tuple[list[int], list[Event]]:
    """Which of the request's rows continue, and what there is to tell. A fault in its search is the end of it alone."""
    search, request_id = generation.search, generation.request_id
    events: list[Event] = []
    try:
        parents = search.advance(candidates)
        generation.positions += 1
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
