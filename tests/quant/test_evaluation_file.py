from pathlib import Path

import pytest

from quant.evaluation_file import EvaluationFileError, read_evaluations


def test_there_are_no_evaluations_before_the_first(tmp_path: Path) -> None:
    assert read_evaluations(tmp_path / "evaluation.json") == []


@pytest.mark.parametrize("content", ["{", "[]", '{"scores": 1}', "3"])
def test_another_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(content)
    with pytest.raises(EvaluationFileError, match=r"evaluation\.json is (no file of evaluations|not readable as JSON)"):
        read_evaluations(path)
