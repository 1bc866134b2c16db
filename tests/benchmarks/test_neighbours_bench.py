from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import neighbours_bench
from benchmarks.commands import BenchNeighbours
from benchmarks.neighbours_bench import Row, run_bench_neighbours, table
from serving.engine.threads import set_threads


def test_each_work_is_told_beside_each_number_of_neighbours(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(neighbours_bench, "NEIGHBOURS", (0, 1))
    monkeypatch.setattr(neighbours_bench, "STEPS", 3)
    figures = tmp_path / "figures.json"
    try:
        assert run_bench_neighbours(BenchNeighbours(artifact=tiny_student, threads=2, rounds=2, json_file=figures)) == 0
    finally:
        set_threads(1)
    rows = json.loads(figures.read_text())["rows"]
    works = ["encode 512 tokens", "a step of 1", "a step of 8", "a step of 32"]
    assert [(row["neighbours"], row["work"]) for row in rows] == [(count, work) for count in (0, 1) for work in works]
    for row in rows:
        runs = 2 if row["work"].startswith("encode") else 6
        assert {threads: len(seconds) for threads, seconds in row["seconds"].items()} == {"1": runs, "2": runs}
    assert "a step of 32" in capsys.readouterr().out


def test_ratios_by_hand() -> None:
    """1, 2 and 6 ms on one thread: 2 by the median, 3 on average; 1, 1 and 4 ms on two."""
    row = Row("a step of 8", 1, {1: [1e-3, 2e-3, 6e-3], 2: [1e-3, 1e-3, 4e-3]})
    cells = [list(column.cells) for column in table([row], "model", 2).columns]
    assert cells == [["1"], ["a step of 8"], ["2.00 (3.00)"], ["1.00 (2.00)"], ["2.00x (1.50x)"]]


def test_what_cannot_be_measured_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_bench_neighbours(BenchNeighbours(artifact=tmp_path)) == 1
    assert capsys.readouterr().err.startswith("dqbart bench neighbours: error: ")
