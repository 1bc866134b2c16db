from pathlib import Path
from typing import Any

import pytest

from compress.scoring.evaluation_file import direction, keep_evaluation
from quant.evaluation_file import EvaluationFileError, read_evaluations


def record(**changed: Any) -> dict[str, Any]:
    return {"model": "m", "data": "d", "source_language": None, "target_language": None, "decoding": {}, **changed}


def test_a_record_replaces_only_the_one_of_the_same_figure(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    for each in (
        record(scores=1),
        record(data="e", scores=2),
        record(decoding={"num_beams": 4}, scores=3),
        record(scores=4),
    ):
        keep_evaluation(path, each)
    assert [entry["scores"] for entry in read_evaluations(path)] == [2, 3, 4]


@pytest.mark.parametrize("content", ["{", "[]", '{"scores": 1}', "3"])
def test_another_file_is_not_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(content)
    with pytest.raises(EvaluationFileError, match=r"evaluation\.json is (no file of evaluations|not readable as JSON)"):
        keep_evaluation(path, record())
    assert path.read_text() == content


def test_a_direction_is_an_arrow_or_nothing() -> None:
    assert direction(record(source_language="de_DE", target_language="en_XX")) == "de_DE → en_XX"
    assert direction(record()) == ""
