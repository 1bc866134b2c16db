import json
from pathlib import Path

from benchmarks.random_artifact import write_random_artifact
from pipelines.sweep.speed import SpeedSettings, measure_speeds
from quant.scheme import Layers, Scheme
from tests.benchmarks.conftest import TINY, one_thread

__all__ = ["one_thread"]
SETTINGS = SpeedSettings(source_tokens=5, new_tokens=3, rounds=2, threads=1)


def test_students_take_turns_and_figures_are_kept(teachers, tmp_path: Path) -> None:
    student = tmp_path / "student"
    write_random_artifact(student, Layers(1, 1), Scheme(2, 2, 8), TINY)
    models = {"student": student, "teacher": Path(teachers["bart"]), "nothing": tmp_path / "nothing"}
    file, turns = tmp_path / "speed.json", []
    speeds = measure_speeds(models, SETTINGS, file, lambda number, name: turns.append((number, name)))
    assert turns == [(0, "student"), (0, "teacher"), (0, "nothing"), (1, "student"), (1, "teacher")]
    assert speeds["student"]["by"].startswith("engine, ")
    assert speeds["teacher"]["by"] == "transformers, float32"
    assert all(rate > 0 for name in ("student", "teacher") for rate in speeds[name]["tokens_per_second"].values())
    assert "nothing" in speeds["nothing"]["error"]
    # Figures that could not have been measured show that the file was read.
    kept = json.loads(file.read_text())
    kept["speeds"]["student"]["tokens_per_second"]["1"] = -1
    file.write_text(json.dumps(kept))
    assert measure_speeds(models, SETTINGS, file)["student"]["tokens_per_second"]["1"] == -1
    assert measure_speeds({"student": student}, SETTINGS, file)["student"]["tokens_per_second"]["1"] > 0
