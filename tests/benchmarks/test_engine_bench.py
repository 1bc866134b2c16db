"""The tables of `dqbart bench engine`, from figures that are given, and one run of the whole on a tiny student."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from benchmarks import engine_bench
from benchmarks.alternation import Times
from benchmarks.commands import BenchEngine
from benchmarks.engine_bench import Row, parts, run_bench_engine, speeds
from benchmarks.limit import Bandwidth, StepBytes
from benchmarks.works import Work


def shown(table: Table) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def row(target: float | None) -> Row:
    ours, theirs = Times(0.1, 0.037, 64), Times(0.25, 0.061, 64)
    return Row(
        "student", Work(1, 128, 1), ours, theirs, "defaults", target, StepBytes(6_000_000, 3_000_000, 500_000, 500_000)
    )


def test_ratio_and_target() -> None:
    assert row(None).ratio == 2.5
    printed = shown(speeds([row(2.5), row(3.0)], "peer"))
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "greedy" in line]
    work, settings = "batch 1, source 128, greedy", "defaults"
    assert cells == [[work, "100", "250", "2.50x", target, settings] for target in ("2.5x met", "3x missed")]


def test_parts_and_the_time_to_read() -> None:
    printed = shown(parts([row(None)], "peer", Bandwidth(memory=20e9, cache=100e9)))
    cells = [cell.strip() for cell in printed.splitlines()[-2].split("│")]
    assert cells[1:-1] == ["batch 1, source 128, greedy", "36.00", "58.00", "1.00", "3.00", "10.0", "0.10", "0.50"]


def test_a_run_prints_and_writes_every_work(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    works = {Work(1, 8, 1): {"6-1": 1.0}, Work(2, 8, 2): {}, Work(1, 500, 1): {}}
    monkeypatch.setattr(engine_bench, "TARGETS", works)
    monkeypatch.setattr(engine_bench, "measure_bandwidth", lambda: Bandwidth(1e9, 2e9))
    figures = tmp_path / "figures.json"
    settings = BenchEngine(
        artifact=tiny_student, peer="transformers", runner="pytorch", new_tokens=2, rounds=1, threads=1, json_file=figures
    )
    assert run_bench_engine(settings) == 0
    printed = capsys.readouterr().out
    assert "medians of 1 alternating runs" in printed
    rows = json.loads(figures.read_text())["rows"]
    # The model does not read 500 tokens; targets are for BART-base's shape beside CTranslate2.
    assert [each["work"] for each in rows] == ["batch 1, source 8, greedy", "batch 2, source 8, beams 2"]
    assert all(each["ratio"] > 0 and each["target"] is None for each in rows)


def test_no_artifact_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_bench_engine(BenchEngine(artifact=tmp_path)) == 1
    assert capsys.readouterr().err.startswith("dqbart bench engine: error: ")
