"""One run of the whole on a tiny student; what it measures is not asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import many_models
from benchmarks.commands import BenchEngine
from benchmarks.many_models import run_many_models
from benchmarks.works import Work


def test_a_run_has_one_model_alone_and_several_at_once(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(many_models, "TARGETS", {Work(2, 8, 1): {}, Work(1, 500, 1): {}})
    figures = tmp_path / "figures.json"
    settings = BenchEngine(
        artifact=tiny_student, runner="pytorch", models=[2, 3], new_tokens=2, rounds=1, threads=1, json_file=figures
    )
    assert run_many_models(settings) == 0
    assert "models in turn" in capsys.readouterr().out
    rows = json.loads(figures.read_text())["rows"]
    # The model does not read 500 tokens.
    assert {row["work"] for row in rows} == {"batch 2, source 8, greedy"}
    assert [(row["loaded"], row["busy"]) for row in rows] == [(1, 1), (3, 1), (3, 2), (3, 3)]
    assert rows[0]["share"] == 1.0
    assert all(row["tokens_per_second"] > 0 and row["share"] > 0 for row in rows)


def test_no_artifact_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_many_models(BenchEngine(artifact=tmp_path, models=[2])) == 1
    assert capsys.readouterr().err.startswith("dqbart bench engine: error: ")
