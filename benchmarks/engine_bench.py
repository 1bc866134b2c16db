"""Runs `dqbart bench engine`: for each student and work, the peer's best settings are found, then both sides take turns."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.alternation import Times, fastest, measure
from benchmarks.commands import BenchEngine
from benchmarks.contestants import Specification
from benchmarks.limit import Bandwidth, StepBytes, measure_bandwidth, step_bytes
from benchmarks.peers import peer_settings
from benchmarks.students import student_folder
from benchmarks.worker import Worker, WorkerFailed
from benchmarks.works import TARGETS, Work
from quant.artifact import ArtifactError, read_artifact

WIDTH = 140


class Row(NamedTuple):
    """One work, measured."""

    student: str
    work: Work
    engine: Times
    peer: Times
    peer_settings: str
    target: float | None
    bytes: StepBytes

    @property
    def ratio(self) -> float:
        return self.peer.seconds / self.engine.seconds


def run_bench_engine(settings: BenchEngine) -> int:
    """Returns the exit code: 0 measured, 1 not."""
    console = Console()
    console = console if console.width >= WIDTH else Console(width=WIDTH)
    torch.set_num_threads(settings.threads)
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory() as scratch, Progress(console=console, transient=True) as progress:
            for layers in settings.layers.split(",") if settings.artifact is None else ["the artifact's own"]:
                folder = student_folder(settings.artifact, layers, settings.bits, Path(scratch))
                rows += _measure_student(settings, folder, layers, Path(scratch), progress)
    except (ArtifactError, WorkerFailed) as error:
        print(f"dqbart bench engine: error: {error}", file=sys.stderr)
        return 1
    bandwidth = measure_bandwidth()
    for student in dict.fromkeys(row.student for row in rows):
        measured = [row for row in rows if row.student == student]
        console.print(speeds(measured, settings.peer))
        console.print(parts(measured, settings.peer, bandwidth))
    console.print(
        f"{settings.new_tokens} forced tokens, {settings.threads} threads, medians of {settings.rounds} alternating runs; "
        f"read bandwidth {bandwidth.memory / 1e9:.0f} GB/s from memory, {bandwidth.cache / 1e9:.0f} GB/s over 16 MiB"
    )
    if settings.json_file is not None:
        settings.json_file.write_text(json.dumps(_figures(rows, bandwidth), indent=2) + "\n")
    return 0


def _measure_student(settings: BenchEngine, folder: Path, layers: str, scratch: Path, progress: Progress) -> list[Row]:
    artifact = read_artifact(folder)
    tried = peer_settings(settings.peer, folder, settings.threads, scratch)
    works = [work for work in TARGETS if work.source_tokens <= artifact.card.max_source_tokens]
    task = progress.add_task(folder.name, total=2 * len(works))
    rows = []
    with ExitStack() as stack:
        engine = stack.enter_context(Worker(Specification("engine", "engine", folder, settings.threads, settings.runner)))
        peers = {each.name: stack.enter_context(Worker(each)) for each in tried}
        for work in works:
            # A batch of one cannot be split among replicas.
            able = {name: peer.seconds for name, peer in peers.items() if peer.specification.replicas <= work.batch}
            best = fastest(able, work, settings.new_tokens)
            progress.advance(task)
            ours, theirs = measure([engine.seconds, peers[best].seconds], work, settings.new_tokens, settings.rounds)
            progress.advance(task)
            target = TARGETS[work].get(layers) if settings.peer == "ctranslate2" else None
            moved = step_bytes(artifact.architecture, artifact.scheme, work, settings.new_tokens, artifact.structure)
            rows.append(Row(folder.name, work, ours, theirs, best, target, moved))
    return rows


def speeds(rows: list[Row], peer: str) -> Table:
    """The whole work of one student: both sides, the ratio, and what is asked for."""
    table = Table("work", title=f"{rows[0].student}: speed", title_justify="left")
    for heading in ("engine, ms", f"{peer}, ms", "ratio", "target"):
        table.add_column(heading, justify="right")
    table.add_column(f"{peer}'s best settings")
    for row in rows:
        target = "" if row.target is None else f"{row.target:g}x {'met' if row.ratio >= row.target else 'missed'}"
        milliseconds = (f"{1e3 * times.seconds:.0f}" for times in (row.engine, row.peer))
        table.add_row(str(row.work), *milliseconds, f"{row.ratio:.2f}x", target, row.peer_settings)
    return table


def parts(rows: list[Row], peer: str, bandwidth: Bandwidth) -> Table:
    """Encoding and a decode step of both sides; what a step reads, and how long reading alone would take."""
    title = f"{rows[0].student}: encoding, a decode step, and the time to read a step's bytes"
    table = Table("work", title=title, title_justify="left")
    headings = ("encode, ms", peer, "a step, ms", peer, "a step reads, MB", "from cache, ms", "from memory, ms")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        times = (row.engine.encode_seconds, row.peer.encode_seconds, row.engine.step_seconds, row.peer.step_seconds)
        total = row.bytes.total
        limits = (total / bandwidth.cache, total / bandwidth.memory)
        table.add_row(
            str(row.work),
            *(f"{1e3 * seconds:.2f}" for seconds in times),
            f"{total / 1e6:.1f}",
            *(f"{1e3 * seconds:.2f}" for seconds in limits),
        )
    return table


def _figures(rows: list[Row], bandwidth: Bandwidth) -> dict[str, Any]:
    measured = [
        {
            **row._asdict(),
            "work": str(row.work),
            "engine": row.engine._asdict(),
            "peer": row.peer._asdict(),
            "ratio": row.ratio,
            "bytes": row.bytes._asdict(),
        }
        for row in rows
    ]
    return {"rows": measured, "bandwidth": bandwidth._asdict()}
