from pathlib import Path

import pytest

from compress.training.earlier_run import ResumeError, changes, refuse_earlier_run


def test_only_what_differs_is_named_however_deep_it_lies() -> None:
    saved = {"layers": "6-3", "training": {"seed": 0, "losses": {"task": 1.0, "kl": 0.0}}, "gone": 1}
    wanted = {"layers": "6-3", "training": {"seed": 1, "losses": {"task": 1.0, "kl": 0.5}}, "new": [2]}
    assert changes(saved, wanted) == [
        "training.seed was 0, is 1",
        "training.losses.kl was 0.0, is 0.5",
        "gone was 1, is None",
        "new was None, is [2]",
    ]
    assert changes(saved, saved) == []


def test_a_folder_with_a_saved_run_is_refused(tmp_path: Path) -> None:
    refuse_earlier_run(tmp_path)
    (tmp_path / "training" / "last").mkdir(parents=True)
    with pytest.raises(ResumeError, match="holds an earlier run: --resume continues it"):
        refuse_earlier_run(tmp_path)
