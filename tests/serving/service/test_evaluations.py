from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quant.evaluation_file import EVALUATION_FILE
from serving.service.evaluations import kept_evaluations


def record(model: str, scores: dict[str, float], **changed: Any) -> dict[str, Any]:
    return {
        "model": f"a name for people ({model})",
        "command": f"dqbart evaluate {model} --data test.jsonl",
        "data": "test.jsonl",
        "examples": 10,
        "source_language": None,
        "target_language": None,
        "decoding": {"num_beams": 4, "max_length": 49},
        "scores": scores,
        "seconds": 1.5,
        **changed,
    }


def folder_of(tmp_path: Path, *records: dict[str, Any], name: str = "student") -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / EVALUATION_FILE).write_text(json.dumps({"evaluations": records}))
    return folder


def shown(folder: Path, teacher: str = "teacher") -> list[dict[str, Any]]:
    return [each.model_dump(exclude_none=True) for each in kept_evaluations(folder, teacher)]


@pytest.mark.parametrize("teacher", ["teacher", "someone/teacher", "runs/teacher/"])
def test_the_teacher_stands_beside_the_student_and_others_are_left_out(tmp_path: Path, teacher: str) -> None:
    folder = folder_of(
        tmp_path,
        record("teacher", {"BLEU": 46.2, "chrF": 61.0}),
        record("another-student", {"BLEU": 1.0}),
        record("student", {"BLEU": 46.5}),
    )
    assert shown(folder, teacher) == [
        {
            "data": "test.jsonl",
            "examples": 10,
            "decoding": {"num_beams": 4, "max_new_tokens": 48},
            "scores": [{"metric": "BLEU", "student": 46.5, "teacher": 46.2}, {"metric": "chrF", "teacher": 61.0}],
        }
    ]


@pytest.mark.parametrize(
    "other",
    [{"data": "other.jsonl"}, {"source_language": "de_DE", "target_language": "en_XX"}, {"decoding": {"num_beams": 1}}],
)
def test_other_data_directions_and_decodings_are_not_set_side_by_side(tmp_path: Path, other: dict[str, Any]) -> None:
    folder = folder_of(tmp_path, record("student", {"BLEU": 46.5}), record("teacher", {"BLEU": 46.2}, **other))
    assert [each["scores"] for each in shown(folder)] == [
        [{"metric": "BLEU", "student": 46.5}],
        [{"metric": "BLEU", "teacher": 46.2}],
    ]


def test_a_renamed_folder_keeps_its_scores(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, record("student", {"BLEU": 46.5}), record("teacher", {"BLEU": 46.2}), name="renamed")
    assert shown(folder)[0]["scores"] == [{"metric": "BLEU", "student": 46.5, "teacher": 46.2}]


def test_without_a_file_there_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert shown(tmp_path) == []
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "is not readable as JSON"),
        ('{"evaluations": 3}', "Input should be a valid list"),
        (json.dumps({"evaluations": [record("student", {"BLEU": "high"})]}), "0.scores.BLEU: "),  # type: ignore[dict-item]
        (json.dumps({"evaluations": [record("student", {}, decoding={"beams": 4})]}), "beams: Extra inputs"),
        (json.dumps({"evaluations": [record("student", {"BLEU": float("nan")})]}), "NaN is no number"),
        (json.dumps({"evaluations": [{**record("student", {}), "command": "dqbart evaluate 'a"}]}), "No closing quotation"),
    ],
)
def test_a_broken_file_is_told_and_does_not_stop_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str, fault: str
) -> None:
    folder = folder_of(tmp_path)
    (folder / EVALUATION_FILE).write_text(content)
    assert shown(folder) == []
    assert caplog.text.count("the scores of student are not shown: ") == 1
    assert fault in caplog.text
