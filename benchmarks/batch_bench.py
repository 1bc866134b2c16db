"""Runs `dqbart bench batch`: what a batch makes of a core, beside the bare engine with one thread.

The bare engine gets the token ids of the same texts, as many at a time as keep its batch full, and its ids stay ids. The
batch is the command, with one actor of one thread: Ray, files, texts to ids and back, and what a service makes of a result.
Compared is processor time, which neighbours on the machine change less than the clock; the clock's figures are beside it,
the batch's from its first part's file to its last, and with its start.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.commands import BenchBatch

_SUMMARY = re.compile(r"([\d.]+) ms of processor time a row")


class Figures(NamedTuple):
    """Of one run, a row."""

    cpu_ms: float
    ms: float
    ms_with_start: float


def run_bench_batch(settings: BenchBatch) -> int:
    """Returns the exit code."""
    try:
        texts = list(islice(cycle(_lines(settings.data)), settings.rows))
    except OSError as error:
        raise SystemExit(f"data = {str(settings.data)!r}: {error.strerror}") from error
    bare = _Bare(settings, texts)
    bare.run()
    runs: dict[str, list[Figures]] = {"bare engine": [], "batch": []}
    for _ in range(settings.rounds):
        runs["bare engine"].append(bare.run())
        runs["batch"].append(_batch(settings, texts))
    medians = {name: Figures(*map(statistics.median, zip(*found, strict=True))) for name, found in runs.items()}
    one, other = medians["bare engine"], medians["batch"]
    table = Table(title=f"{settings.artifact.name}, {settings.rows:,} texts, one thread; medians of {settings.rounds}")
    for heading in ("", "processor, ms a row", "clock, ms a row", "with the start"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, each in medians.items():
        table.add_row(name, *(f"{value:.2f}" for value in each))
    table.add_row("the batch's throughput", *(f"{100 * a / b:.0f} %" for a, b in zip(one, other, strict=True)))
    Console().print(table)
    if settings.json_file is not None:
        figures = {name: [each._asdict() for each in found] for name, found in runs.items()}
        settings.json_file.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _lines(path: Path) -> list[str]:
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    if not lines:
        raise SystemExit(f"data = {str(path)!r}: no line has a text")
    return lines


class _Bare:
    """An engine in this process, and what it is asked."""

    def __init__(self, settings: BenchBatch, texts: Sequence[str]) -> None:
        from serving.engine.engine import load_engine
        from serving.engine.request import Request
        from serving.engine.settings import EngineSettings
        from serving.engine.threads import set_threads
        from serving.service.languages import resolve_languages
        from serving.service.models import check_model
        from serving.service.requests import GenerationParameters, Truncation
        from serving.service.sources import SourceReader

        set_threads(1)
        limits = EngineSettings()
        self._rows, self._at_a_time = len(texts), 2 * limits.max_batch_rows
        model = check_model(settings.artifact.name, settings.artifact, limits.max_batch_rows)
        card = model.card
        truncation: Truncation = "chunk" if card.task == "translation" else "error"
        languages = resolve_languages(card.language_pairs, settings.source_language, settings.target_language)
        reader = SourceReader(model.codec(), card.task, *languages, truncation, max_windows=1000)
        asked = GenerationParameters()
        self._requests = [
            Request(window.source_ids, model.defaults.resolve(asked, window, limits.max_batch_rows))
            for text in texts
            for window in reader.read({"source": text}).windows
        ]
        self._engine = load_engine(settings.artifact, limits, "auto")

    def run(self) -> Figures:
        from serving.engine.engine import Finished

        coming, unfinished = iter(self._requests), 0
        started, started_cpu = time.perf_counter(), time.process_time()
        while True:
            for request in islice(coming, self._at_a_time - unfinished):
                self._engine.submit(request)
                unfinished += 1
            if not unfinished:
                break
            unfinished -= sum(isinstance(event, Finished) for event in self._engine.step())
        seconds = time.perf_counter() - started
        per_row = 1000 / self._rows
        return Figures((time.process_time() - started_cpu) * per_row, seconds * per_row, seconds * per_row)


def _batch(settings: BenchBatch, texts: Sequence[str]) -> Figures:
    with tempfile.TemporaryDirectory(prefix="dqbart-bench-") as folder:
        source, output = Path(folder) / "in.txt", Path(folder) / "out"
        source.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        command = [sys.executable, "-m", "dqbart", "batch", str(settings.artifact), str(source), "--output", str(output)]
        command += ["--concurrency", "1", "--threads", "1"]
        for name in ("source_language", "target_language"):
            if (value := getattr(settings, name)) is not None:
                command += [f"--{name.replace('_', '-')}", value]
        started = time.perf_counter()
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        seconds = time.perf_counter() - started
        found = _SUMMARY.search(done.stderr)
        if done.returncode or found is None:
            raise SystemExit(f"dqbart batch ended with {done.returncode}: {done.stderr.strip()}")
        # Parts are of equal size: all but the first are done between these.
        ends = sorted(path.stat().st_mtime_ns for path in output.glob("part-*"))
        if len(ends) < 2:
            raise SystemExit(f"rows = {settings.rows}: two parts at least are wanted")
        steady = (ends[-1] - ends[0]) / 1e6 / (settings.rows * (len(ends) - 1) / len(ends))
        return Figures(float(found[1]), steady, 1000 * seconds / settings.rows)
