"""Runs `dqbart bench memory`: a fresh process imports torch, loads the student, decodes; its bytes at each point."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.commands import BenchMemory
from benchmarks.contestants import Specification
from benchmarks.students import student_folder
from benchmarks.worker import Worker, WorkerFailed
from benchmarks.works import TARGETS
from quant.artifact import ArtifactError, read_artifact

NEW_TOKENS = 64


def run_bench_memory(settings: BenchMemory) -> int:
    """Returns the exit code: 0 measured, 1 not."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = student_folder(settings.artifact, settings.layers, settings.bits, Path(scratch))
            name, longest = folder.name, read_artifact(folder).card.max_source_tokens
            with Worker(Specification("engine", "engine", folder, settings.threads, settings.runner)) as worker:
                start = worker.before_loading.resident
                figures = {"loaded": worker.loaded.resident - start, "most while loading": worker.loaded.peak - start}
                for work in TARGETS:
                    if work.source_tokens <= longest:
                        worker.seconds(work, NEW_TOKENS)
                        figures[f"after {work}"] = worker.memory().resident - start
    except (ArtifactError, WorkerFailed) as error:
        print(f"dqbart bench memory: error: {error}", file=sys.stderr)
        return 1
    table = Table("", title=f"Resident memory of {name}", title_justify="left")
    table.add_column("MB above torch", justify="right")
    for point, count in figures.items():
        table.add_row(point, f"{count / 1e6:.0f}")
    console = Console()
    console.print(table)
    console.print(f"an interpreter that has imported torch: {start / 1e6:.0f} MB")
    if settings.json_file is not None:
        settings.json_file.write_text(json.dumps({"student": name, "torch": start, **figures}, indent=2) + "\n")
    return 0
