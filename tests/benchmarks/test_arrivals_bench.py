"""One comparison on a tiny student, and the table of figures that are given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import arrivals, arrivals_bench
from benchmarks.arrivals import Outcome, StaticPolicy
from benchmarks.arrivals_bench import Comparison, Static, comparison_table, run_bench_arrivals
from benchmarks.commands import BenchArrivals

OUTCOME = Outcome((1.0, 2.0), 4.0, 3.0, 0.05)


def test_the_ratio_is_to_static_batching_at_its_best_limit() -> None:
    statics = [Static(StaticPolicy(rows, rows == 8, True), 7.0, rate, OUTCOME) for rows, rate in ((8, 4.0), (16, 2.0))]
    compared = Comparison(0, 10.0, OUTCOME, statics)
    assert compared.ratio == 2.0
    console = Console(width=160)
    with console.capture() as captured:
        console.print(comparison_table([compared]))
    lines = captured.get().splitlines()
    assert any("static, 8 rows, by length" in line and "2.00x" in line for line in lines)
    assert any("static, 16 rows, in order" in line and "4.00x" in line for line in lines)


def test_static_batching_that_never_holds_the_limit_is_shown() -> None:
    compared = Comparison(0, 10.0, OUTCOME, [Static(StaticPolicy(8, False, False), 7.0, 0.0, OUTCOME)])
    console = Console(width=200)
    with console.capture() as captured:
        console.print(comparison_table([compared]))
    assert "none holds it" in captured.get()
    assert compared.ratio == float("inf")


def test_a_run_compares_every_seed(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arrivals, "NEW_TOKENS", (2, 4))
    monkeypatch.setattr(arrivals_bench, "STATIC_ROWS", (4,))
    monkeypatch.setattr(arrivals_bench, "HALVINGS", 1)
    figures = tmp_path / "figures.json"
    settings = BenchArrivals(
        artifact=tiny_student, runner="pytorch", requests=100, rows=8, seeds=[0, 1], threads=1, json_file=figures
    )
    assert run_bench_arrivals(settings) == 0
    assert "median of the seeds" in capsys.readouterr().out
    compared = json.loads(figures.read_text())
    assert [each["seed"] for each in compared] == [0, 1]
    assert all(each["rate"] == pytest.approx(0.8 * each["capacity"]) for each in compared)
