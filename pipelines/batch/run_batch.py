"""Runs `dqbart batch`: everything that can be told before Ray starts, then passes over the parts until none is left."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

from rich.console import Console

from pipelines.batch.columns import check_free, columns_for, output_columns
from pipelines.batch.commands import Batch, OutputFormat
from pipelines.batch.errors import BatchError
from pipelines.batch.files import columns, scan
from pipelines.batch.folder import BAD_ROWS, Folder
from pipelines.batch.model import Model, open_model
from pipelines.batch.parts import Part, input_of, parts_of, rows_per_part
from pipelines.batch.progress import Progress, say
from pipelines.batch.sources import Given, given, opened
from pipelines.batch.worker import Done, Job
from pipelines.batch.writing import schema_of
from quant.errors import Error
from quant.processors import available_threads

EXIT_BAD_ROWS = 3
EXIT_INTERRUPTED = 130

_ENDINGS: dict[OutputFormat, str] = {"parquet": ".parquet", "jsonl": ".jsonl", "csv": ".csv"}
_DECIDES_NOTHING = ("model", "input", "output", "config", "concurrency", "threads", "device", "batch_rows", "metrics_port")
"""Settings that may change from one start of a run to the next."""


def run_batch(settings: Batch) -> int:
    """Returns the exit code: 0 done, 1 failed, 3 done with bad rows, 130 interrupted."""
    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(settings, console)
    except Error as error:
        print(f"dqbart batch: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say(console, f"interrupted; the same command continues {settings.output}")
        return EXIT_INTERRUPTED


@dataclass(frozen=True)
class _Planned:
    """A run before its first actor."""

    job: Job
    made_with: dict[str, Any]

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.job.parts


def _run(settings: Batch, console: Console) -> int:
    started = time.monotonic()
    entries = given(settings.input)
    folder = Folder(settings.output.absolute(), _ENDINGS[_output_format(settings, entries)])
    model = open_model(settings.model)
    source_column, target_column = _language_columns(settings)
    model.check_languages(*_languages(settings), (source_column is not None, target_column is not None))
    folder.check()
    planned = _plan(settings, entries, folder, model)
    with folder.locked():
        folder.check(planned.made_with)
        folder.begin(planned.made_with)
        left = folder.left(planned.parts)
        rows = sum(part.rows for part in planned.parts)
        say(console, f"{rows:,} rows in {len(planned.parts):,} parts{_done_before(planned.parts, left)}")
        total = _do(settings, planned, folder, left, console) if left else Done(0, 0)
        bad = folder.finish(planned.parts)
    seconds = time.monotonic() - started
    rates = ""
    if total.rows:
        rates = f", {total.rows / seconds:.1f} rows and {total.generated_tokens / seconds:.0f} tokens/s with the start"
        rates += f", {1000 * total.cpu_seconds / total.rows:.2f} ms of processor time a row"
    say(console, f"{settings.output}: {rows - sum(bad.values()):,} rows with outputs{rates}")
    if not bad:
        return 0
    kinds = ", ".join(f"{count:,} {code}" for code, count in bad.most_common())
    say(console, f"{settings.output / BAD_ROWS}: {sum(bad.values()):,} rows without: {kinds}")
    return EXIT_BAD_ROWS


def _plan(settings: Batch, entries: Sequence[Given], folder: Folder, model: Model) -> _Planned:
    """Raises BatchError. What is quick to find out comes first."""
    output_format = _output_format(settings, entries)
    parameters = settings.parameters()
    scored, several = bool(settings.return_scores), (settings.num_return_sequences or 1) > 1
    asked = None
    files = []
    for number, entry in enumerate(entries):
        file = opened(entry, folder.copies / f"{number:06}", settings.delimiter)
        there = columns(file)
        found = columns_for(
            model.task,
            there,
            settings.text_column,
            settings.question_column,
            settings.context_column,
            _language_columns(settings),
            _languages(settings),
        )
        if asked is not None and found != asked:
            raise BatchError(
                f"{entry.name} has its texts in {found.text}, files before it in {asked.text}: name --text-column"
            )
        asked = found
        check_free(there, output_columns(settings.prefix, scored, several))
        files.append(file)
    assert asked is not None, "an input has a file at least"
    model.check_parameters(parameters, settings.batch_rows)
    if len({tuple(columns(file)) for file in files}) > 1 and files[0].kind == "csv":
        raise BatchError("the files have different columns, or their columns in another order")
    scans = [scan(file) for file in files]
    schema = None if output_format == files[0].kind == "jsonl" else schema_of(files)
    if schema is not None:
        check_free(schema.names, output_columns(settings.prefix, scored, several))
    rows = sum(each.rows for each in scans)
    if not rows:
        raise BatchError(f"{', '.join(settings.input)}: no row is there")
    made_with = {
        "model": model.digest(),
        "input": input_of(files, scans),
        **settings.model_dump(mode="json", exclude=set(_DECIDES_NOTHING), exclude_none=True),
        "output_format": output_format,
        "truncation": _truncation(settings, model),
        "rows_per_file": rows_per_part(rows, settings.rows_per_file),
    }
    job = Job(
        model=model.folder,
        task=model.task,
        files=tuple(files),
        parts=tuple(parts_of(scans, rows_per_part(rows, settings.rows_per_file))),
        folder=folder,
        output_format=output_format,
        columns=asked,
        schema=schema,
        prefix=settings.prefix,
        parameters=parameters,
        truncation=_truncation(settings, model),
        threads=1,
        batch_rows=settings.batch_rows,
        runner="auto",
    )
    return _Planned(job, made_with)


def _do(settings: Batch, planned: _Planned, folder: Folder, left: Sequence[Part], console: Console) -> Done:
    """Answer the parts that are left. What came of all of them."""
    from pipelines.batch.cluster import MachineLost, passed, pool_for, started
    from pipelines.batch.metrics import Metrics

    rows = sum(part.rows for part in planned.parts)
    total = Done(0, 0)
    metrics = None if settings.metrics_port is None else Metrics(settings.metrics_port, rows)
    if metrics is not None:
        say(console, f"metrics on port {metrics.port}")
    with (
        closing(metrics) if metrics is not None else nullcontext(),
        started(_cores()),
        Progress(console, rows, rows - sum(part.rows for part in left)) as progress,
    ):
        # Ray's start has put a handler of its own in this one's place, which aborts the process.
        signal.signal(signal.SIGTERM, _interrupt)
        while left:
            pool = pool_for(settings.concurrency, settings.threads, settings.device)
            job = replace(planned.job, threads=pool.threads, runner=_runner(settings.device, pool.gpus))
            gpu = " and a GPU" if pool.gpus else ""
            say(console, f"{pool.actors} actor(s), each of {pool.threads} thread(s){gpu}")
            if metrics is not None:
                metrics.begin(sum(part.rows for part in left), pool.actors)
            try:
                for done in passed(job, left, pool):
                    total.add(done)
                    progress.advance(done)
                    if metrics is not None:
                        metrics.count(done)
            except MachineLost:
                say(console, "a machine was lost; the others go on with what is left")
            left = folder.left(planned.parts)
    return total


def _output_format(settings: Batch, entries: Sequence[Given]) -> OutputFormat:
    if settings.output_format is not None:
        return settings.output_format
    kind = entries[0].kind
    return "jsonl" if kind == "text" else kind


def _truncation(settings: Batch, model: Model) -> str:
    return settings.truncation or ("chunk" if model.task == "translation" else "error")


def _languages(settings: Batch) -> tuple[str | None, str | None]:
    """Of all rows."""
    return settings.source_language, settings.target_language


def _language_columns(settings: Batch) -> tuple[str | None, str | None]:
    return settings.source_language_column, settings.target_language_column


def _runner(device: str, gpus: int) -> Literal["auto", "cpu", "cuda"]:
    if device.startswith("cuda"):
        return "cuda"
    return "auto" if gpus else "cpu"


def _cores() -> int:
    return available_threads()


def _done_before(parts: Sequence[Part], left: Sequence[Part]) -> str:
    return f", {len(parts) - len(left):,} of them done before" if len(left) < len(parts) else ""


def _interrupt(signal_number: int, frame: object) -> None:
    raise KeyboardInterrupt
