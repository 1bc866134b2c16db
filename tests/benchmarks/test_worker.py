"""Contestants in processes of their own; what they measure is not asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.contestants import Specification
from benchmarks.worker import Worker, WorkerFailed
from benchmarks.works import Work

WORK = Work(2, 16, 2)


def test_an_engine_answers_again_and_again(tiny_student: Path) -> None:
    with Worker(Specification("engine", "engine", tiny_student, 1, "pytorch")) as worker:
        assert worker.seconds(WORK, 3) > 0
        assert worker.seconds(Work(1, 5, 1), 1) > 0
        assert 0 < worker.before_loading.resident < worker.memory().resident <= worker.memory().peak


def test_what_cannot_be_loaded_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WorkerFailed, match="engine ended with code 1"):
        Worker(Specification("engine", "engine", tmp_path / "absent", 1))
    said = capfd.readouterr().err
    assert "engine cannot be loaded: " in said
    assert "Traceback" not in said
