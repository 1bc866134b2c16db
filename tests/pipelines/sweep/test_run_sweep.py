"""A whole sweep as a user types it: a grid and an extra run that fails."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dqbart.cli import run_command
from pipelines.commands import Sweep
from pipelines.sweep.record import SweepError
from pipelines.sweep.run_sweep import alone_in


def sweep(config: Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        run_command(Sweep, "sweep", [str(config)])
    return int(stopped.value.code or 0)


def one_student(teacher: str, test: str, output: Path) -> dict[str, Any]:
    """Settings of a sweep, without those of its commands."""
    return {"teacher": teacher, "test": test, "output": str(output), "layers": ["1-1"], "bits": ["2-2-8"]}


def test_a_sweep_runs_each_student_once_and_ends_in_table_and_plot(teachers, pairs, tmp_path: Path, capsys) -> None:
    settings = {
        **one_student(teachers["bart"], pairs, tmp_path / "sweep"),
        "compress": {"task": "summarization", "train": pairs, "valid": pairs, "valid-examples": 4, "max_steps": 1},
        "evaluate": {"limit": 4, "check_generate": 2},
        "extra": [{"name": "too deep", "layers": "7-1"}],
        "threads": 1,
        "source_tokens": 8,
        "new_tokens": 4,
        "rounds": 1,
    }
    settings["compress"]["device"] = "cpu"
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(settings))
    assert sweep(config) == 1
    shown = capsys.readouterr().out
    assert "3 models, 0 of them done before" in shown
    assert "too deep: failed: dqbart compress: error: a student of 7 layers" in " ".join(shown.split())
    results = json.loads((tmp_path / "sweep" / "results.json").read_text())
    student, failed = results["runs"]
    assert set(results["teacher"]["scores"][""]) == set(student["scores"][""])
    assert (student["layers"], student["bits"], student["steps"], student["error"]) == ("1-1", "2-2-8", 1, None)
    assert student["timed_by"].startswith("engine")
    assert student["cpu_minutes"] > 0
    assert set(student["tokens_per_second"]) == {"1", "8"}
    assert "7 layers" in failed["error"]
    table = (tmp_path / "sweep" / "table.md").read_text()
    assert "| 1-1 2-2-8 | 1-1 | 2-2-8 |" in table
    assert (tmp_path / "sweep" / "plot.png").is_file()
    log = (tmp_path / "sweep" / "runs" / "1-1_2-2-8" / "evaluate.log").read_text()
    assert "generate gives the engine's ids for 2 of 2 examples" in log
    assert "## Evaluation" in (tmp_path / "sweep" / "runs" / "1-1_2-2-8" / "model" / "README.md").read_text()

    del settings["extra"]
    config.write_text(yaml.safe_dump(settings))
    assert sweep(config) == 0
    assert "started" not in capsys.readouterr().out

    settings["compress"]["learning_rate"] = 0.5
    config.write_text(yaml.safe_dump(settings))
    assert sweep(config) == 1
    assert "compress.learning_rate was None, is 0.5" in capsys.readouterr().err


def test_files_and_columns_of_all_runs_are_checked_before_anything_runs(teachers, pairs, tmp_path: Path, capsys) -> None:
    settings = {
        **one_student(teachers["bart"], pairs, tmp_path / "sweep"),
        "compress": {"task": "summarization", "train": pairs, "valid": pairs},
        "extra": [{"name": "other data", "train": "none.jsonl"}],
    }
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(settings))
    assert sweep(config) == 1
    assert capsys.readouterr().err == "dqbart sweep: error: none.jsonl does not exist\n"
    settings["extra"], settings["evaluate"] = [], {"source_field": "text"}
    config.write_text(yaml.safe_dump(settings))
    assert sweep(config) == 1
    assert "has no column text: it has source, target" in capsys.readouterr().err


def test_two_sweeps_never_share_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with alone_in(folder), pytest.raises(SweepError, match="another sweep is at work there"), alone_in(folder):
        pass
    with alone_in(folder):
        pass
