"""A bar of rows on a terminal; elsewhere a line now and then."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from pipelines.batch.worker import Done

_PLAIN_SECONDS = 20


class Progress:
    """Rows done, rows and tokens a second since this start, bad rows, time left."""

    def __init__(self, console: Console, rows: int, done_before: int) -> None:
        shown = TextColumn("{task.fields[rates]}"), TextColumn("left"), TimeRemainingColumn()
        columns = TextColumn("answering"), BarColumn(bar_width=30), MofNCompleteColumn()
        self._bar = Bar(*columns, *shown, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=rows, completed=done_before, rates="")
        self._console, self._rows = console, rows
        self._before = self._done = done_before
        self._tokens = self._bad = 0
        self._started = self._printed = time.monotonic()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, done: Done) -> None:
        """A part is done."""
        self._done += done.rows
        self._tokens += done.generated_tokens
        self._bad += done.bad_rows
        now = time.monotonic()
        seconds = now - self._started
        rates = f"{(self._done - self._before) / seconds:.1f} rows/s, {self._tokens / seconds:.0f} tokens/s"
        rates += f", {self._bad:,} bad rows" if self._bad else ""
        self._bar.update(self._task, completed=self._done, rates=rates)
        if not self._console.is_terminal and now - self._printed >= _PLAIN_SECONDS:
            self._printed = now
            say(self._console, f"{self._done:,} of {self._rows:,} rows, {rates}")


def say(console: Console, line: str) -> None:
    """A line as it is."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)
