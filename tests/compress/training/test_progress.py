import io
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from compress.training.loop import StepReport
from compress.training.progress import TrainingProgress, advancing

REPORT = StepReport(20, 100, {"total": 3.5, "task": 1.25, "hidden": 2.25}, 1e-3, 8_642, 2.0)


class Watching:
    """An observer that keeps what it was told, and may fail to close."""

    def __init__(self, told: list[Any], broken: bool = False) -> None:
        self.told = told
        self.broken = broken

    def report(self, report: StepReport) -> None:
        self.told.append(report)

    def validated(self, step: int, scores: Mapping[str, float], best: bool) -> None:
        self.told.append((step, scores, best))

    def close(self) -> None:
        self.told.append("closed")
        if self.broken:
            raise OSError("the disk is full")


def run(terminal: bool) -> str:
    """The text printed by a run of one report and one validation."""
    output = io.StringIO()
    with TrainingProgress(100, 0, Console(file=output, force_terminal=terminal, width=90)) as progress:
        progress.report(REPORT)
        with progress.validating(4) as advance:
            advance(4)
        progress.validated(20, {"BLEU": 30.0}, best=True)
    return output.getvalue()


def watched(observers: list[Watching]) -> None:
    with TrainingProgress(100, 0, Console(quiet=True), observers) as progress:
        progress.report(REPORT)
        progress.validated(20, {"BLEU": 30.0}, best=True)


def test_a_terminal_shows_the_bar_every_loss_and_the_throughput() -> None:
    shown = run(terminal=True)
    for part in ("20/100", "total 3.500 task 1.250 hidden 2.250", "4,321 tokens/s", "step 20: BLEU 30.00 (best, saved)"):
        assert part in shown


def test_without_a_terminal_there_are_plain_lines() -> None:
    shown = run(terminal=False)
    assert "\x1b" not in shown
    assert shown.splitlines()[0].startswith("step 20/100  total 3.500")
    assert shown.splitlines()[1] == "step 20: BLEU 30.00 (best, saved)"


def test_all_observers_are_told_the_same_and_closed_whatever_one_raises() -> None:
    told: list[list[Any]] = [[], []]
    observers = [Watching(told[0]), Watching(told[1], broken=True)]
    with pytest.raises(OSError, match="the disk is full"):
        watched(observers)
    assert told[0] == told[1] == [REPORT, (20, {"BLEU": 30.0}, True), "closed"]


def test_long_work_tells_how_far_it_is_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("compress.training.progress.time.monotonic", lambda: clock[0])
    output = io.StringIO()
    with advancing(Console(file=output, force_terminal=False, width=90), "decoding", 1000) as advance:
        for clock[0], finished in [(1.0, 10), (21.0, 20), (30.0, 70), (60.0, 150), (61.0, 1), (99.0, 749)]:
            advance(finished)
    assert output.getvalue().splitlines() == ["decoding 30/1,000", "decoding 250/1,000  3 min left"]


def test_a_long_validation_does_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.training.progress._PLAIN_SECONDS", 0)
    output = io.StringIO()
    console = Console(file=output, force_terminal=False, width=90)
    with TrainingProgress(100, 0, console) as progress, progress.validating(4) as advance:
        advance(3)
        advance(1)
    assert output.getvalue().splitlines() == ["validating 3/4  0 min left"]
