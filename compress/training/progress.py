"""What a training run shows: a bar with the time left, every loss and the throughput below it; and all who watch with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from compress.training.loop import StepReport
from compress.training.observers import Observer

# Where there is no terminal, a bar would print nothing before its end: a plain line at most this often instead.
_PLAIN_SECONDS = 20
_TELLING = 0.05  # of all there is to do: less of it says nothing of the time that the rest takes


def progress_bar(console: Console, transient: bool = False) -> Progress:
    """The bar that all long work of this package shows; a transient one leaves nothing when it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, transient=transient)


@contextmanager
def advancing(console: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar while something else than training goes on; yields the function to call with what was done."""
    if not console.is_terminal:
        yield Lines(console, what, total).advance
        return
    with progress_bar(console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda finished: bar.advance(task, finished)


class Lines:
    """A line now and then, where there is no terminal for a bar."""

    def __init__(self, console: Console, what: str, total: int) -> None:
        self._console, self._what, self._total = console, what, total
        self._done = 0
        self._started = self._printed = time.monotonic()

    def advance(self, finished: int) -> None:
        """So many more are done."""
        self._done += finished
        now = time.monotonic()
        if now - self._printed < _PLAIN_SECONDS or not 0 < self._done < self._total:
            return
        self._printed = now
        line = f"{self._what} {self._done:,}/{self._total:,}"
        if self._done >= _TELLING * self._total:
            left = (now - self._started) * (self._total - self._done) / self._done
            line += f"  {left / 60:.0f} min left"
        self._console.print(line, highlight=False, soft_wrap=True)


class TrainingProgress:
    """A context manager around a run: the first observer, which tells the others and closes them at the end."""

    def __init__(
        self, steps: int, start: int, console: Console, observers: Sequence[Observer] = (), what: str = "training"
    ) -> None:
        self._bar = progress_bar(console)
        self._task = self._bar.add_task(what, total=steps or None, completed=start)
        self._figures = Text()
        self._live = Live(Group(self._bar, self._figures), console=console)
        self._console = console
        self._observers = observers
        self._printed = 0.0

    def __enter__(self) -> TrainingProgress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._live.stop()
        with ExitStack() as closing:  # each is closed, whatever another raises
            for observer in self._observers:
                closing.callback(observer.close)

    def report(self, report: StepReport) -> None:
        """Show losses, learning rate and throughput (tokens a second, padding not counted)."""
        losses = " ".join(f"{name} {value:.3f}" for name, value in report.losses.items())
        figures = f"{losses}  lr {report.learning_rate:.1e}  {report.tokens_per_second:,.0f} tokens/s"
        self._bar.update(self._task, completed=report.step, total=report.steps)
        self._figures.plain = figures
        if not self._console.is_terminal and time.monotonic() - self._printed >= _PLAIN_SECONDS:
            self._printed = time.monotonic()
            left = self._bar.tasks[0].time_remaining
            time_left = "" if left is None else f"  {left / 60:.0f} min left"
            self._say(f"step {report.step}/{report.steps}  {figures}{time_left}")
        for observer in self._observers:
            observer.report(report)

    @contextmanager
    def validating(self, examples: int) -> Iterator[Callable[[int], None]]:
        """A second bar; yields the function to call with the number of examples finished."""
        if not self._console.is_terminal:
            yield Lines(self._console, "validating", examples).advance
            return
        task = self._bar.add_task("validating", total=examples)
        yield lambda finished: self._bar.advance(task, finished)
        self._bar.remove_task(task)

    def validated(self, step: int, scores: Mapping[str, float], best: bool) -> None:
        """A line with the scores; `best` says that the model was written anew."""
        shown = ", ".join(f"{name} {value:.2f}" for name, value in scores.items())
        self._say(f"step {step}: {shown}{' (best, saved)' if best else ''}")
        for observer in self._observers:
            observer.validated(step, scores, best)

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)
