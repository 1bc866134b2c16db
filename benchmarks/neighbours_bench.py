"""Runs `dqbart bench neighbours`: encoding and decode steps on one thread and on several, beside processes that keep cores
busy.

Both numbers of threads take turns on one runner, so that the machine is the same for both. Neighbours compute without pause;
the operating system gives each of them as much of a core as each thread of ours. Medians tell the usual step, means what the
waits of some of them cost on the whole.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from benchmarks.commands import BenchNeighbours
from benchmarks.students import student_folder
from quant.artifact import ArtifactError, read_artifact
from serving.engine.runner import Runner, Source, Wanted
from serving.engine.runners import RunnerUnavailable, runner_for
from serving.engine.settings import EngineSettings
from serving.engine.threads import set_threads

NEIGHBOURS = (0, 1, 2)
ROWS = (1, 8, 32)
STEPS = 20
SOURCE_TOKENS = 32
ENCODED_TOKENS = 512
BUSY = "while True: pass"


@dataclass(frozen=True)
class Row:
    """One work beside so many neighbours; seconds of each encoding or step, by the number of threads."""

    work: str
    neighbours: int
    seconds: dict[int, list[float]]

    def median(self, threads: int) -> float:
        return statistics.median(self.seconds[threads])

    def mean(self, threads: int) -> float:
        return statistics.fmean(self.seconds[threads])


def run_bench_neighbours(settings: BenchNeighbours) -> int:
    """Returns the exit code: 0 measured, 1 not."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = student_folder(settings.artifact, settings.layers, settings.bits, Path(scratch))
            limits = EngineSettings(max_batch_rows=max(ROWS))
            runner = runner_for(read_artifact(folder), limits, settings.runner)
            rows = [row for count in NEIGHBOURS for row in _measure(runner, count, settings)]
    except (ArtifactError, RunnerUnavailable) as error:
        print(f"dqbart bench neighbours: error: {error}", file=sys.stderr)
        return 1
    Console().print(table(rows, folder.name, settings.threads))
    if settings.json_file is not None:
        figures = {"threads": settings.threads, "rows": [asdict(row) for row in rows]}
        settings.json_file.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def table(rows: Sequence[Row], model: str, threads: int) -> Table:
    """Milliseconds of each work on one thread and on `threads`, and how many times as long it took on one."""
    table = Table("neighbours", "work", title=f"{model}: ms, medians and (means)", title_justify="left")
    for heading in ("1 thread", f"{threads} threads", "faster"):
        table.add_column(heading, justify="right")
    for row in rows:
        times = (f"{1e3 * row.median(each):.2f} ({1e3 * row.mean(each):.2f})" for each in (1, threads))
        ratios = row.median(1) / row.median(threads), row.mean(1) / row.mean(threads)
        table.add_row(str(row.neighbours), row.work, *times, f"{ratios[0]:.2f}x ({ratios[1]:.2f}x)")
    return table


def _measure(runner: Runner, neighbours: int, settings: BenchNeighbours) -> list[Row]:
    works: dict[str, Callable[[], list[float]]] = {f"encode {ENCODED_TOKENS} tokens": partial(_encode, runner)}
    works |= {f"a step of {count}": partial(_decode, runner, count) for count in ROWS}
    numbers = dict.fromkeys((1, settings.threads))
    seconds: dict[str, dict[int, list[float]]] = {work: {threads: [] for threads in numbers} for work in works}
    with _busy(neighbours):
        for turn in range(settings.rounds + 1):
            for work, run in works.items():
                for threads in numbers:
                    set_threads(threads)
                    measured = run()
                    if turn:
                        seconds[work][threads] += measured
    return [Row(work, neighbours, each) for work, each in seconds.items()]


def _encode(runner: Runner) -> list[float]:
    longest = min(ENCODED_TOKENS, runner.architecture.max_position_embeddings)
    sources = [_source(runner, longest)] * (ENCODED_TOKENS // longest)
    runner.clear()
    started = perf_counter()
    runner.begin(sources)
    runner.encode(runner.architecture.encoder_layers)
    return [perf_counter() - started]


def _decode(runner: Runner, rows: int) -> list[float]:
    runner.clear()
    runner.begin([_source(runner, SOURCE_TOKENS)] * rows)
    runner.encode(runner.architecture.encoder_layers)
    wanted, seconds = [Wanted(count=2)] * rows, []
    for token in range(STEPS):
        started = perf_counter()
        runner.decode([10 + token] * rows, wanted)
        seconds.append(perf_counter() - started)
    return seconds


def _source(runner: Runner, length: int) -> Source:
    return Source([10 + place % (runner.architecture.vocab_size - 10) for place in range(length)], 1, STEPS + 1)


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Processes that compute while the block lasts."""
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(process.kill)
        yield
