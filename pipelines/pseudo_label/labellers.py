"""Processes that each hold an engine, and label chunks of requests.

A chunk is submitted to its engine at once, the longest sources first, so that the batch stays full until the short ones at
its end; the engine then adds and removes rows at every step. Chunks come back in order, whichever is ready first.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from serving.engine.request import Request
from serving.engine.settings import EngineSettings, RunnerName

if TYPE_CHECKING:
    from serving.engine.engine import Engine
    from serving.engine.request import Result

CHUNK = 256
"""Requests labelled together; as many are lost at most when a worker is interrupted."""


class Label(NamedTuple):
    """The best output for one source."""

    token_ids: tuple[int, ...]
    score: float | None
    """Sum of log-probabilities over length ** length_penalty, as beam search compares."""


def label(
    artifact: Path, requests: Sequence[Request], workers: int, threads: int, runner: RunnerName, rows: int
) -> Generator[list[Label]]:
    """Labels of `requests`, chunk by chunk in their order, by engines that decode at most `rows` rows together.

    Closing the iterator ends the processes; chunks on their way are lost. Raises what an engine raises.
    """
    chunks = deque(requests[start : start + CHUNK] for start in range(0, len(requests), CHUNK))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(chunks)) or 1, spawn, initializer=_load, initargs=(artifact, threads, runner, rows)
    ) as pool:
        waiting: deque[Future[list[Label]]] = deque()
        try:
            while chunks or waiting:
                while chunks and len(waiting) < 2 * workers:
                    waiting.append(pool.submit(_label_chunk, chunks.popleft()))
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


_ENGINES: list[Engine] = []
"""Of a worker process: its one engine."""


def _load(artifact: Path, threads: int, runner: RunnerName, rows: int) -> None:
    """Runs first in each process."""

    from serving.engine.engine import load_engine
    from serving.engine.threads import set_threads

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    set_threads(threads)
    _ENGINES.append(load_engine(artifact, EngineSettings(max_batch_rows=rows, max_queued_requests=CHUNK), runner))


def _label_chunk(requests: Sequence[Request]) -> list[Label]:
    (engine,) = _ENGINES
    return [Label(best.token_ids, best.score) for best in (result.sequences[0] for result in decode_all(engine, requests))]


def decode_all(engine: Engine, requests: Sequence[Request]) -> list[Result]:
    """The results in the order of the requests, of which the engine can queue as many. Raises what the engine raises."""
    from serving.engine.engine import Finished
    from serving.engine.request import Result

    order = sorted(range(len(requests)), key=lambda index: -len(requests[index].source_ids))
    places = {engine.submit(requests[index]): index for index in order}
    results: list[Result | None] = [None] * len(requests)
    while engine.has_work:
        for event in engine.step():
            if isinstance(event, Finished):
                if not isinstance(event.outcome, Result):
                    raise event.outcome
                results[places[event.request_id]] = event.outcome
    return [each for each in results if each is not None]
