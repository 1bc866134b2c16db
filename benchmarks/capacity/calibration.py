"""Measures what an engine's encodings and steps take, on a model and texts like its own.

1. Each request alone: how many rows its steps decode. That is the same whoever it shares a batch with.
2. So many requests at a time, for a while each: a step's seconds by its rows, an encoding's by its tokens. What a step takes
   beside encoding counts as decoding: the search, joining and leaving.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.capacity.costs import EngineCosts, Line, Work, fit_line
from benchmarks.capacity.texts import Asked, asked_of
from quant.artifact import read_artifact
from quant.card import Card
from quant.layout import Architecture
from serving.engine.engine import Engine, Finished
from serving.engine.padding import padded_length
from serving.engine.request import Request, Result
from serving.engine.runner import Candidates, Runner, Source, Wanted
from serving.engine.runners import runner_for
from serving.engine.search import rows_of
from serving.engine.settings import EngineSettings, RunnerName
from serving.engine.threads import set_threads
from serving.service.models import CheckedModel, check_model
from serving.service.requests import GenerationParameters

AT_A_TIME = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
ROW_EDGES = (2, 5, 9, 13, 17, 25, 33, 41, 49, 57)
TOKEN_EDGES = (24, 48, 96, 160, 256, 384, 512, 768, 1024, 2048)


class Calibration(NamedTuple):
    """Of one model; small enough to be sent to another process."""

    card: Card
    asked: Asked
    costs: EngineCosts
    new_tokens: tuple[int, ...]
    """That each request of the sample got."""
    runner: str
    """Which ran."""


class TimedRunner:
    """A runner that counts what encoding takes, and of how many tokens it was."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._layers = runner.architecture.encoder_layers
        self._tokens = 0
        self.encoded: list[tuple[float, float]] = []
        """Tokens and seconds of each call; the beginning of an encoding counts to its first one."""
        self.seconds = 0.0
        """All of them."""
        self._begun = 0.0

    @property
    def architecture(self) -> Architecture:
        return self._runner.architecture

    @property
    def rows(self) -> int:
        return self._runner.rows

    @property
    def page_positions(self) -> int:
        return self._runner.page_positions

    def cache_bytes(self, source: Source, positions: int) -> int:
        return self._runner.cache_bytes(source, positions)

    @property
    def spare_bytes(self) -> int:
        return self._runner.spare_bytes

    def trim(self, most: int) -> None:
        self._runner.trim(most)

    def begin(self, sources: Sequence[Source]) -> None:
        started = time.perf_counter()
        self._runner.begin(sources)
        self._begun = time.perf_counter() - started
        self._tokens = len(sources) * max(padded_length(len(source.token_ids)) for source in sources)

    def encode(self, layers: int) -> bool:
        started = time.perf_counter()
        joined = self._runner.encode(layers)
        seconds = time.perf_counter() - started + self._begun
        self._begun = 0.0
        self.encoded.append((self._tokens * layers / self._layers, seconds))
        self.seconds += seconds
        return joined

    def abandon(self) -> None:
        self._runner.abandon()

    def decode(self, tokens: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
        return self._runner.decode(tokens, wanted)

    def select(self, parents: Sequence[Sequence[int]]) -> None:
        self._runner.select(parents)

    def clear(self) -> None:
        self._runner.clear()


def calibrate(
    name: str, folder: Path, threads: int, runner: RunnerName, settings: EngineSettings, seconds: float
) -> Calibration:
    """Measure a model for so many seconds at each number of requests at a time. Raises ArtifactError, ModelError."""

    set_threads(threads)
    model = check_model(name, folder, settings.max_batch_rows)
    chosen = runner_for(read_artifact(folder), settings, runner)
    timed = TimedRunner(chosen)
    engine = Engine(timed, settings)
    asked = asked_of(name, model.card)
    requests = engine_requests(asked, model, settings.max_batch_rows)
    works, new_tokens = zip(*(_alone(engine, timed, request) for request in requests), strict=True)
    encode, decode = _measure(engine, timed, requests, settings.max_batch_rows, seconds)
    costs = EngineCosts(works, engine.architecture.encoder_layers, encode, decode)
    return Calibration(model.card, asked, costs, new_tokens, type(chosen).__module__.split(".")[-2])


def engine_requests(asked: Asked, model: CheckedModel, max_rows: int) -> list[Request]:
    """As the service would hand them on."""
    codec = model.codec()
    requests = []
    for each in asked.inputs:
        source = codec.encode(each, *(asked.languages or (None, None)))
        requests.append(Request(source.source_ids, model.defaults.resolve(GenerationParameters(), source, max_rows)))
    return requests


def _alone(engine: Engine, runner: TimedRunner, request: Request) -> tuple[Work, int]:
    """What the request is to a replica, and how many tokens it gets."""
    claimed = rows_of(request.parameters)
    source = Source(request.source_ids, claimed, request.parameters.max_new_tokens)
    engine.submit(request)
    rows, results = [], []
    while engine.has_work:
        events = engine.step()
        rows.append(engine.decoded_rows)
        results += [_result(event) for event in events if isinstance(event, Finished)]
    work = Work(len(request.source_ids), claimed, runner.cache_bytes(source, len(rows)), tuple(rows))
    return work, len(results[0].sequences[0].token_ids)


def _measure(
    engine: Engine, runner: TimedRunner, requests: Sequence[Request], max_rows: int, seconds: float
) -> tuple[Line, Line]:
    """Encoding by tokens, and decoding by rows."""
    beams = max(rows_of(request.parameters) for request in requests)
    come = itertools.cycle(requests)
    steps: list[tuple[float, float]] = []
    runner.encoded.clear()
    for at_a_time in (number for number in AT_A_TIME if number * beams <= max_rows):
        running = 0
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            for _ in range(at_a_time - running):
                engine.submit(next(come))
            running = at_a_time
            started, before = time.perf_counter(), runner.seconds
            events = engine.step()
            taken = time.perf_counter() - started - (runner.seconds - before)
            if engine.decoded_rows:
                steps.append((engine.decoded_rows, taken))
            running -= len([_result(event) for event in events if isinstance(event, Finished)])
        while engine.has_work:
            engine.step()
    return fit_line(runner.encoded, TOKEN_EDGES), fit_line(steps, ROW_EDGES)


def _result(event: Finished) -> Result:
    if not isinstance(event.outcome, Result):
        raise event.outcome
    return event.outcome
