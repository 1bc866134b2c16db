"""Runs `dqbart bench soak`: mixed traffic for a long time, and the server's memory and open files meanwhile.

All kinds of requests come over both protocols: whole, streamed, cancelled at any moment, and wrong ones. What should not
happen is counted: an error where an answer is due, an answer where an error is due, and another answer than before to the
same request. Memory counts as flat when the line through the second half of its samples hardly rises.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.service.asking import Asking
from benchmarks.service.commands import BenchSoak
from benchmarks.service.machine import machine_facts
from benchmarks.service.process_tree import Sample, Trend, sample_tree, trend
from benchmarks.service.running import Listed, WrongServer, listed_models
from benchmarks.service.server_process import Running, ServerFailed, running_server
from benchmarks.service.soak_plot import write_soak_plot
from benchmarks.service.tables import facts_line
from benchmarks.service.traffic import draw

FLAT_SHARE = 0.01
FLAT_BYTES, FLAT_FILES = 8 << 20, 5
"""Of what is there at half time, or in all, whichever is more: the rise that counts as none."""
TELLING_SECONDS = 60.0
"""A second half that is shorter says nothing of memory: caches and buffers still grow."""


def run_bench_soak(settings: BenchSoak) -> int:
    """Returns the exit code: 0 flat and without failures, 1 not."""
    console = Console()
    facts = machine_facts()
    try:
        with tempfile.TemporaryDirectory(prefix="dqbart-soak-") as scratch:
            models = {folder.resolve().name: folder.resolve() for folder in settings.models}
            with running_server(models, Path(scratch), "--threads", str(settings.threads)) as server:
                served = listed_models(None, server.grpc, None)
                samples, asking = asyncio.run(_soak(settings, server, served, console))
    except (ServerFailed, WrongServer, OSError, psutil.Error) as error:
        print(f"dqbart bench soak: error: {error}", file=sys.stderr)
        return 1
    return _report(settings, console, facts, samples, asking)


async def _soak(settings: BenchSoak, server: Running, served: list[Listed], console: Console) -> tuple[list[Sample], Asking]:
    asking = Asking(server)
    chance = random.Random(settings.seed)
    started = time.monotonic()
    end = started + 60 * settings.minutes
    samples: list[Sample] = []

    async def client() -> None:
        while time.monotonic() < end:
            await asking.ask(draw(chance, served))

    async def watch() -> None:
        while True:
            samples.append(sample_tree(server.pid, time.monotonic() - started))
            progress.update(bar, completed=min(time.monotonic() - started, 60 * settings.minutes))
            await asyncio.sleep(settings.every)

    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("soaking", total=60 * settings.minutes)
        watching = asyncio.create_task(watch())
        try:
            await asyncio.gather(*(client() for _ in range(settings.clients)))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await asking.close()
    if watching.done() and not watching.cancelled() and (fault := watching.exception()):
        raise fault
    return samples, asking


def _report(settings: BenchSoak, console: Console, facts: dict[str, str], samples: list[Sample], asking: Asking) -> int:
    console.print(_counts(asking))
    times = [sample.seconds for sample in samples]
    memory = trend(times, [float(sample.resident) for sample in samples])
    files = trend(times, [float(sample.open_files) for sample in samples])
    telling = times[-1] - times[len(times) // 2] >= TELLING_SECONDS
    flat = [
        _judged(console, "resident memory, MiB", memory, 1 << 20, FLAT_BYTES, telling),
        _judged(console, "open files", files, 1, FLAT_FILES, telling),
    ]
    for failure, count in asking.failures.most_common():
        console.print(f"unexpected, {count} times: {failure}", markup=False, highlight=False)
    if not asking.failures:
        console.print("nothing failed that should not")
    console.print(facts_line(facts), highlight=False)
    if settings.plot is not None:
        write_soak_plot(settings.plot, samples)
    if settings.json_file is not None:
        counts = [{"kind": kind, "over": over, "end": end, "count": n} for (kind, over, end), n in asking.counts.items()]
        entries = {"counts": counts, "failures": asking.failures, "samples": [sample._asdict() for sample in samples]}
        settings.json_file.write_text(json.dumps({"machine": facts, **entries}, indent=2) + "\n")
    return 0 if all(flat) and not asking.failures else 1


def _judged(console: Console, what: str, line: Trend | None, unit: int, least: float, telling: bool) -> bool:
    """Print what became of one quantity in the second half; False when it rose."""
    if line is None or not telling:
        console.print(f"{what}: the run is too short to tell")
        return True
    flat = line.flat(FLAT_SHARE, least)
    change = f"{line.start / unit:,.0f} at half time, {line.growth / unit:+,.1f} from there to the end"
    console.print(f"{what}: {change}: {'flat' if flat else 'RISING'}", highlight=False)
    return flat


def _counts(asking: Asking) -> Table:
    table = Table("requests", "over", "end", title="Traffic", title_justify="left")
    table.add_column("count", justify="right")
    for (kind, over, end), count in sorted(asking.counts.items()):
        table.add_row(kind, over, end, f"{count:,}")
    return table
