"""Runs `dqbart bench engine --models …`: models that take turns on one loop, beside one model that is alone.

Each has the same rows: so many models have so many times the work, and lose nothing when that takes so many times as long.
The model that is alone is asked in a process that has no other, and in one that has all of them. Random students differ, so
that each has memory of its own; of an artifact that is given, all have the same.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.alternation import alternate
from benchmarks.commands import BenchEngine
from benchmarks.contestants import Specification
from benchmarks.random_artifact import write_random_artifact
from benchmarks.worker import Worker, WorkerFailed
from benchmarks.works import TARGETS, Work
from quant.artifact import ArtifactError, read_artifact
from quant.scheme import Layers, Scheme


class Row(NamedTuple):
    """One work of each model."""

    student: str
    work: Work
    loaded: int
    busy: int
    tokens_per_second: float
    """Of all of them together."""
    share: float
    """Of what one model does that is alone in its process."""


def run_many_models(settings: BenchEngine) -> int:
    """Returns the exit code: 0 measured, 1 not."""
    console = Console()
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if settings.artifact is not None:
                rows += _measure(settings, settings.artifact, settings.artifact)
            else:
                for layers in settings.layers.split(","):
                    folder = Path(scratch) / f"random-{layers}-{settings.bits.replace('/', '-')}"
                    students = [folder / str(seed) for seed in range(max(settings.models))]
                    for seed, folder_of_one in enumerate(students):
                        write_random_artifact(folder_of_one, Layers.parse(layers), Scheme.parse(settings.bits), seed=seed)
                    rows += _measure(settings, folder, students[0])
    except (ArtifactError, WorkerFailed) as error:
        print(f"dqbart bench engine: error: {error}", file=sys.stderr)
        return 1
    for student in dict.fromkeys(row.student for row in rows):
        console.print(table([row for row in rows if row.student == student]))
    console.print(
        f"{settings.new_tokens} forced tokens, {settings.threads} threads, medians of {settings.rounds} alternating runs"
    )
    if settings.json_file is not None:
        figures = [{**row._asdict(), "work": str(row.work)} for row in rows]
        settings.json_file.write_text(json.dumps({"rows": figures}, indent=2) + "\n")
    return 0


def _measure(settings: BenchEngine, folder: Path, artifact: Path) -> list[Row]:
    most = max(settings.models)
    cases = list(dict.fromkeys([(1, 1), (most, 1), *((most, busy) for busy in settings.models)]))
    longest = read_artifact(artifact).card.max_source_tokens
    rows: list[Row] = []
    with ExitStack() as stack:
        workers = {case: stack.enter_context(Worker(_specification(settings, folder, *case))) for case in cases}
        for work in (work for work in TARGETS if work.source_tokens <= longest):
            works = {(loaded, busy): work._replace(batch=work.batch * busy) for loaded, busy in cases}
            runs = {case: partial(workers[case].seconds, works[case], settings.new_tokens) for case in cases}
            seconds = alternate(runs, settings.rounds)
            for (loaded, busy), taken in seconds.items():
                tokens = busy * work.batch * settings.new_tokens
                rows.append(Row(folder.name, work, loaded, busy, tokens / taken, busy * seconds[1, 1] / taken))
    return rows


def _specification(settings: BenchEngine, folder: Path, loaded: int, busy: int) -> Specification:
    name = f"{busy} of {loaded} models"
    return Specification(name, "loop", folder, settings.threads, settings.runner, models=loaded, busy=busy)


def table(rows: list[Row]) -> Table:
    """Of one student: the tokens of all models together, and how many a model gets that is alone."""
    made = Table("work of each model", title=f"{rows[0].student}: models in turn", title_justify="left")
    for heading in ("models busy", "loaded", "tokens/s", "of one alone"):
        made.add_column(heading, justify="right")
    for row in rows:
        made.add_row(
            str(row.work), str(row.busy), str(row.loaded), f"{row.tokens_per_second:.0f}", f"{100 * row.share:.1f} %"
        )
    return made
