"""Event files, read back by TensorBoard's own reader."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from compress.training.loop import StepReport
from compress.training.tensorboard import TensorBoard


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def write(folder: Path, start: int, *steps: int) -> None:
    board = TensorBoard(folder, start)
    for step in steps:
        board.report(StepReport(step, 100, {"total": step + 0.5, "task": 1.0}, 1e-3, 1_000, 2.0))
    board.validated(steps[-1], {"ROUGE-Lsum": 30.0}, best=True)
    board.close()


def test_reports_and_scores_are_curves(tmp_path: Path) -> None:
    write(tmp_path, 0, 20, 40)
    assert scalars(tmp_path) == {
        "loss/total": [(20, 20.5), (40, 40.5)],
        "loss/task": [(20, 1.0), (40, 1.0)],
        "learning_rate": [(20, 1e-3), (40, 1e-3)],
        "tokens_per_second": [(20, 500.0), (40, 500.0)],
        "validation/ROUGE-Lsum": [(40, 30.0)],
    }


def test_a_resumed_run_takes_the_place_of_what_was_lost(tmp_path: Path) -> None:
    write(tmp_path, 0, 20, 40)
    later = tmp_path / "later"
    write(later, 30, 50)
    # TensorBoard reads the files of a folder by name, which begins with the second they were made in.
    (file,) = later.iterdir()
    file.rename(tmp_path / "events.out.tfevents.99999999999")
    later.rmdir()
    assert scalars(tmp_path)["loss/task"] == [(20, 1.0), (50, 1.0)]
