"""Runs `dqbart sweep`: every student once, each in processes of its own, then speeds in turns, then table and plot.

What is finished stands in the run's record and is not done again: the same command continues a sweep that was interrupted,
and tries again what failed. A run that fails does not stop the others.
"""

from __future__ import annotations

import fcntl
import signal
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from transformers.utils import logging as transformers_logging

from compress.commands.early import data_faults
from compress.data.tables import load_table
from compress.expected_errors import EXPECTED_ERRORS
from compress.scoring.metrics import SELECTION
from dqbart.cli import describe
from pipelines.commands import Sweep
from pipelines.scoring.evaluate import Evaluate
from pipelines.sweep.children import Children, CommandFailed, Interrupted
from pipelines.sweep.grid import NO_ENVIRONMENT, TEACHER, Run, normalized
from pipelines.sweep.plot import write_plots
from pipelines.sweep.record import MODEL_FOLDER, Record, SweepError
from pipelines.sweep.results import RESULTS_FILE, Row, compared, scored, sized, teacher_row, write_results
from pipelines.sweep.speed import SPEED_FILE, SpeedSettings, measure_speeds
from pipelines.sweep.student_run import complete, evaluations
from pipelines.sweep.table import TABLE_FILE, markdown, note, terminal_table

EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class _Entry:
    """One row of the table to be: a student's run, or the teacher's evaluation, which has none."""

    run: Run | None
    folder: Path
    record: Record

    @property
    def name(self) -> str:
        return self.run.name if self.run else TEACHER


def run_sweep(settings: Sweep) -> int:
    """Returns the exit code: 0 all done, 1 something failed, 130 interrupted."""
    console = Console()
    try:
        with alone_in(settings.output):
            return _Sweep(settings, console).run()
    except EXPECTED_ERRORS as error:
        print(f"dqbart sweep: error: {error}", file=sys.stderr)
        return 1


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which ends with this process however it ends. Raises SweepError where another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SweepError(f"{folder}: another sweep is at work there") from error
        yield


class _Sweep:
    def __init__(self, settings: Sweep, console: Console) -> None:
        """Checks everything that can be checked before hours of work. Raises SweepError, DatasetError."""
        self.settings = settings
        self.console = console
        self.teacher, self.teacher_bytes = teacher_row(settings.teacher)
        self.entries = self._entries(load_table(settings.test, "test", settings.reading()).columns)
        self.metric = settings.metric or SELECTION[settings.task()]
        self.children = Children(settings.threads)

    def run(self) -> int:
        waiting = [entry for entry in self.entries if entry.record.result is None]
        self._say(
            f"{len(self.entries)} models, {len(self.entries) - len(waiting)} of them done before, in {self.settings.output}"
        )
        if not self._complete(waiting):
            self._say("interrupted, what was done is saved; the same command continues")
            return EXIT_INTERRUPTED
        self._report(self._speeds())
        return 1 if any(entry.record.error for entry in self.entries) else 0

    def _entries(self, columns: list[str]) -> list[_Entry]:
        settings, root, task = self.settings, self.settings.output / "runs", self.settings.task()
        entries = []
        for run in (None, *settings.runs()):
            name = run.name if run else TEACHER
            given = dict(run.settings) if run else normalized(settings.compress)
            asked = {
                "teacher": settings.teacher,
                "compress": given if run else None,
                "evaluate": [
                    _checked({**each, "name": name})
                    for each in evaluations(task, given, normalized(settings.evaluate), settings.test, columns)
                ],
            }
            folder = root / (run.folder if run else TEACHER)
            entries.append(_Entry(run, folder, Record.open(folder, asked)))
        return entries

    def _complete(self, entries: list[_Entry]) -> bool:
        """Run what is not done. Returns False when interrupted."""
        pool = ThreadPoolExecutor(self.settings.jobs)
        futures: dict[Future[None], _Entry] = {}
        with _sigterm_as_ctrl_c():
            try:
                futures = {pool.submit(self._attempt, entry): entry for entry in entries}
                for future in as_completed(futures):
                    future.result()
                return True
            except Interrupted:
                return False
            except KeyboardInterrupt:
                self._say("interrupting, so that each training saves its state (once more kills it)")
                self._stop(pool)
                return False
            finally:
                pool.shutdown(cancel_futures=True)

    def _stop(self, pool: ThreadPoolExecutor) -> None:
        self.children.stop()
        try:
            pool.shutdown(cancel_futures=True)
        except KeyboardInterrupt:
            self.children.stop()

    def _attempt(self, entry: _Entry) -> None:
        """Raises Interrupted; a run that fails has the reason in its record."""
        place = f"\\[{self.entries.index(entry) + 1}/{len(self.entries)}] {entry.name}"
        self._say(f"{place}: started, logs in {entry.folder}")
        entry.folder.mkdir(parents=True, exist_ok=True)
        entry.record.save()
        try:
            complete(entry.record, entry.folder, self.children)
        except CommandFailed as error:
            entry.record.error = str(error)
            entry.record.save()
            self._say(f"{place}: [red]failed[/red]: {escape(str(error))}")
            return
        row = self._row(entry)
        scores = "; ".join(
            f"{each} {', '.join(f'{name} {value:.1f}' for name, value in found.items())}".strip()
            for each, found in row.scores.items()
        )
        training = "" if row.steps is None else f"{row.steps:,} steps in {row.minutes:.1f} minutes, "
        self._say(f"{place}: {training}{(row.bytes or 0) / 1e6:.2f} MB: {scores}")
        self._write_tables({})

    def _row(self, entry: _Entry) -> Row:
        record, run = entry.record, entry.run
        own = run and Row(run.name, run.layers, run.bits, run.own, run.extra, run.minutes)
        row = own or replace(self.teacher)
        row.error = record.error
        if record.result is None:
            row.error = row.error or "not run yet"
            return row
        row = scored(row, record.result, self.metric)
        return sized(row, entry.folder / MODEL_FOLDER, self.teacher_bytes) if run else row

    def _speeds(self) -> dict[str, dict[str, Any]]:
        given = self.settings
        speed = SpeedSettings(given.source_tokens, given.new_tokens, given.rounds, given.threads or 1)
        models = {
            entry.name: entry.folder / MODEL_FOLDER if entry.run else Path(given.teacher)
            for entry in self.entries
            if entry.record.result is not None
        }
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        with self.console.status("timing") as status:
            return measure_speeds(
                models,
                speed,
                given.output / SPEED_FILE,
                lambda number, name: status.update(f"timing, turn {number + 1} of {given.rounds}: {name}"),
            )

    def _write_tables(self, speeds: Mapping[str, Mapping[str, Any]]) -> tuple[Row, list[Row], dict[str, Any]]:
        teacher, *rows = [self._row(entry) for entry in self.entries]
        compared(rows, teacher, speeds)
        given = self.settings
        about = {
            "test": Path(given.test).name,
            "metric": self.metric,
            "speed": {
                "source_tokens": given.source_tokens,
                "new_tokens": given.new_tokens,
                "rounds": given.rounds,
                "threads": given.threads or 1,
            },
        }
        write_results(given.output / RESULTS_FILE, teacher, rows, about)
        (given.output / TABLE_FILE).write_text(markdown(teacher, rows, about))
        return teacher, rows, about

    def _report(self, speeds: Mapping[str, Mapping[str, Any]]) -> None:
        teacher, rows, about = self._write_tables(speeds)
        write_plots(self.settings.output, teacher, rows, about["metric"])
        self.console.print(terminal_table(teacher, rows, about["metric"]))
        for row in rows:
            if row.error:
                self._say(f"{row.name}: [red]failed[/red]: {escape(row.error)}")
        self._say(note(teacher, rows, about))
        self._say(f"kept in {self.settings.output}: {TABLE_FILE}, {RESULTS_FILE}, plot.svg, plot.png")

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of `dqbart evaluate`, read once before anything runs. Raises SweepError."""
    given = {key: value for key, value in settings.items() if value is not None}
    try:
        evaluate = Evaluate(**NO_ENVIRONMENT, model=TEACHER, **given)
    except ValidationError as error:
        raise SweepError(f"evaluate: {describe(error, Evaluate)}") from error
    if faults := data_faults([evaluate.data], evaluate.task, evaluate.fields()):
        raise SweepError("; ".join(faults))
    return given


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
