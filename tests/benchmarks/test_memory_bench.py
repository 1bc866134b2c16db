from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import memory_bench
from benchmarks.commands import BenchMemory
from benchmarks.memory_bench import run_bench_memory
from benchmarks.works import Work


def test_memory_is_told_at_each_point(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory_bench, "TARGETS", {Work(1, 8, 1): {}, Work(1, 500, 1): {}})
    monkeypatch.setattr(memory_bench, "NEW_TOKENS", 2)
    figures = tmp_path / "figures.json"
    assert run_bench_memory(BenchMemory(artifact=tiny_student, runner="pytorch", threads=1, json_file=figures)) == 0
    written = json.loads(figures.read_text())
    assert list(written) == ["student", "torch", "loaded", "most while loading", "after batch 1, source 8, greedy"]
    assert 0 < written["loaded"] <= written["most while loading"]
    assert "MB above torch" in capsys.readouterr().out


def test_no_artifact_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_bench_memory(BenchMemory(artifact=tmp_path)) == 1
    assert capsys.readouterr().err.startswith("dqbart bench memory: error: ")
