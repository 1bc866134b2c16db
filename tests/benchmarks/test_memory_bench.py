from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import memory_bench
from benchmarks.commands import BenchMemory
from benchmarks.memory_bench import run_bench_memory
from benchmarks.works import Work
from quant.artifact import WEIGHTS_FILE


def test_memory_is_told_at_each_point(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory_bench, "TARGETS", {Work(1, 8, 1): {}, Work(1, 500, 1): {}})
    monkeypatch.setattr(memory_bench, "NEW_TOKENS", 2)
    figures = tmp_path / "figures.json"
    settings = BenchMemory(artifact=tiny_student, models=2, runner="pytorch", threads=1, json_file=figures)
    assert run_bench_memory(settings) == 0
    written = json.loads(figures.read_text())
    points = ["torch", "loaded", "most while loading", "after batch 1, source 8, greedy"]
    assert list(written) == ["student", "files", "loading", *points]
    assert written["files"] == 2 * (tiny_student / WEIGHTS_FILE).stat().st_size
    starts = ["without a folder", "first start", "later start", "and one beside it", "each of the two"]
    assert list(written["loading"]) == starts
    assert all(each["seconds"] > 0 and each["held"]["resident"] > 0 for each in written["loading"].values())
    assert 0 < written["loaded"] <= written["most while loading"]
    assert "MB above torch" in capsys.readouterr().out


def test_only_random_students_are_made_several_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = Path(__file__).parents[2] / "models" / "mbart-de-en-2-4-8"
    assert run_bench_memory(BenchMemory(artifact=shipped, models=2)) == 1
    assert "of a random student only" in capsys.readouterr().err


def test_no_artifact_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_bench_memory(BenchMemory(artifact=tmp_path)) == 1
    assert capsys.readouterr().err.startswith("dqbart bench memory: error: ")
