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
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from quant.artifact import open_artifact
from quant.layout import Architecture
from serving.engine.admission import check_cache_bytes, check_request
from serving.engine.errors import GenerationFailed
from serving.engine.memory import give_back_freed_memory
from serving.engine.request import Request, Result
from serving.engine.runner import Candidates, Runner, Source, Wanted
from serving.engine.runners import runner_for
from serving.engine.scheduler import Claim, Scheduler
from serving.engine.search import Search, rows_of, search_for
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
    """The most that the caches of the running requests may take."""
    max_cache_bytes: int = 0
    """The ceiling of `cache_bytes`, from the settings."""
    longest_stall_seconds: float = 0.0
    """The longest that rows waited for encoding, of whichever model, between two of their decode steps, since the engine was
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


@dataclass
class _Generation:
    """A request on its way; what has a default is filled by the engine as it goes."""

    request_id: int
    request: Request
    search: Search
    wanted: Wanted
    source: Source
    departed: bool = False
    submitted: float = field(default_factory=perf_counter)
    encode_started: float = 0.0
    decode_started: float = 0.0
    first_token: float = 0.0


class Engine:
    """Requests in, events out, a step at a time."""

    def __init__(self, runner: Runner, settings: EngineSettings) -> None:
        self._runner = runner
        self._settings = settings
        self._scheduler = Scheduler(settings, runner.architecture.encoder_layers)
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._generations: dict[int, _Generation] = {}
        # These two, like the runner, are touched by the stepping thread only.
        self._encoding: list[_Generation] = []
        self._batch: list[_Generation] = []
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
        architecture, parameters = self._runner.architecture, request.parameters
        check_request(request, architecture, self._settings)
        # The last token generated is not fed again, the start token is.
        source = Source(request.source_ids, rows_of(parameters), parameters.max_new_tokens)
        cache_bytes = self._runner.cache_bytes(source)
        check_cache_bytes(cache_bytes, self._settings)
        search = search_for(request, architecture.vocab_size)
        with self._lock:
            number = next(self._ids) if request_id is None else request_id
            generation = _Generation(number, request, search, search.wanted(), source)
            self._scheduler.submit(Claim(generation.request_id, source.rows, len(source.token_ids), cache_bytes))
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
                max_cache_bytes=self._settings.max_cache_bytes,
                longest_stall_seconds=self._longest_stall,
            )

    @property
    def has_work(self) -> bool:
        with self._lock:
            return bool(self._generations)

    @property
    def rows(self) -> int:
        """Rows that will be decoded next."""
        return self._runner.rows

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
        """Decode one token a row; what came of it."""
        try:
            return self._decode()
        except Exception as fault:
            return self._fail_all(fault)

    def waited(self, seconds: float) -> None:
        """Take note that rows of this engine waited so long for encoding."""
        self._longest_stall = max(self._longest_stall, seconds)

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

    def _encode(self, turn: Turn) -> None:
        self._drop_departed()
        if not self._encoding:
            self._begin(turn)
        if self._encoding:
            with self._lock:
                layers = self._scheduler.take_layers(turn)
            if layers and self._runner.encode(layers):
                self._join()
                turn.rows_wait = True

    def _begin(self, turn: Turn) -> None:
        started = perf_counter()
        with self._lock:
            self._encoding = [self._generations[request_id] for request_id in self._scheduler.admit(turn)]
        if self._encoding:
            for generation in self._encoding:
                generation.encode_started = started
            self._runner.begin([generation.source for generation in self._encoding])

    def _join(self) -> None:
        ended = perf_counter()
        for generation in self._encoding:
            generation.decode_started = ended
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
        advanced = [_advanced(generation, candidates) for generation, candidates in zip(self._batch, found, strict=True)]
        finished = [generation for generation, (parents, _) in zip(self._batch, advanced, strict=True) if not parents]
        self._keep([parents for parents, _ in advanced])
        self._release(finished)
        return [event for _, events in advanced for event in events]

    def _keep(self, parents: list[list[int]]) -> None:
        self._runner.select(parents)
        self._batch = [generation for generation, rows in zip(self._batch, parents, strict=True) if rows]

    def _release(self, generations: Iterable[_Generation]) -> None:
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

    def _fail_all(self, fault: Exception) -> list[Event]:
        """The end of everything that the runner holds, for those who still wait for it.

        Its tensors may be half-written: nothing in them can be trusted, everything else goes on.
        """
        failed: list[Event] = [_failed(each, fault) for each in (*self._batch, *self._encoding) if not each.departed]
        self._runner.clear()
        self._forget_encoding()
        self._release(self._batch)
        self._batch = []
        return failed


def load_engine(artifact: Path, settings: EngineSettings, runner: RunnerName = "auto") -> Engine:
    """An engine over the artifact in a folder, which is ready for requests. Raises ArtifactError, RunnerUnavailable."""
    chosen = runner_for(open_artifact(artifact), settings, runner)
    warm_up(Engine(chosen, settings))
    give_back_freed_memory()
    return Engine(chosen, settings)


def _advanced(generation: _Generation, candidates: Candidates) -> tuple[list[int], list[Event]]:
    """Which of the request's rows continue, and what there is to tell. A fault in its search is the end of it alone."""
    search, request_id = generation.search, generation.request_id
    events: list[Event] = []
    try:
        parents = search.advance(candidates)
        generation.first_token = generation.first_token or perf_counter()
        if parents:
            generation.wanted = search.wanted()
        else:
            events = [Finished(request_id, _result(generation))]
        if generation.request.stream and (token_ids := search.settled()):
            events.insert(0, Emitted(request_id, token_ids))
        return parents, events
    except Exception as fault:
        return [], [_failed(generation, fault)]


def _result(generation: _Generation) -> Result:
    return Result(
        sequences=generation.search.sequences(),
        queue_seconds=generation.encode_started - generation.submitted,
        encode_seconds=generation.decode_started - generation.encode_started,
        decode_seconds=perf_counter() - generation.decode_started,
        first_token_seconds=generation.first_token - generation.submitted,
    )


def _failed(generation: _Generation, fault: Exception) -> Finished:
    _LOG.error("request %d failed", generation.request_id, exc_info=fault)
    failure = GenerationFailed(f"a fault inside the engine ended the request: {type(fault).__name__}")
    failure.__cause__ = fault
    return Finished(generation.request_id, failure)
