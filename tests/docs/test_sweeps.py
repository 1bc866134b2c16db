"""The sweeps that the documentation tells of: every setting of every run is one that `dqbart compress` takes."""

from pathlib import Path

import pytest
import yaml

from pipelines.commands import Sweep
from pipelines.sweep.grid import NO_ENVIRONMENT

SWEEPS = sorted((Path(__file__).parents[2] / "docs" / "sweeps").glob("*.yaml"))


def test_there_is_one_for_each_task() -> None:
    assert {path.stem for path in SWEEPS} >= {"question-answering", "summarization", "translation"}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_has_students_at_two_and_four_bits_and_at_each_time_or_one_number_of_steps(path: Path) -> None:
    settings = Sweep(**NO_ENVIRONMENT, config=path, **yaml.safe_load(path.read_text()))
    grid = [run for run in settings.runs() if not run.extra]
    assert all(path.stem.startswith(str(run.task)) for run in settings.runs())
    assert {run.minutes for run in grid} == ({None} if "steps" in path.stem else {0, 1, 5, 30})
    assert "2-4-8" in {run.bits for run in grid}
