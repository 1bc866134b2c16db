from pathlib import Path

import pytest

from pipelines.sweep.record import Record, SweepError

ASKED = {"teacher": "t", "compress": {"bits": "2-2-8", "learning_rate": 1e-3}, "evaluate": [{"data": "test"}]}


def test_a_record_is_read_as_it_was_saved(tmp_path: Path) -> None:
    record = Record.open(tmp_path / "run", ASKED)
    record.trained, record.seconds, record.result = True, 2.5, {"steps": 3}
    record.save()
    again = Record.open(tmp_path / "run", ASKED)
    assert (again.trained, again.seconds, again.error, again.result) == (True, 2.5, None, {"steps": 3})


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    Record.open(tmp_path, ASKED).save()
    asked = {**ASKED, "compress": {"bits": "2-2-8", "learning_rate": 2e-3, "seed": 1}}
    with pytest.raises(SweepError, match=r"compress.learning_rate was 0.001, is 0.002; compress.seed was None, is 1$"):
        Record.open(tmp_path, asked)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(SweepError, match=r"run\.json is no record"):
        Record.open(tmp_path, ASKED)
