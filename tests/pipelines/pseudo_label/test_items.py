import json
from pathlib import Path

import pytest

from compress.data.dataset import Fields, Languages
from compress.errors import DatasetError
from pipelines.pseudo_label.items import load_items


def written(folder: Path, *rows: dict) -> str:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "rows.jsonl")


def test_a_row_keeps_its_columns_and_its_target_beside_the_label(tmp_path: Path) -> None:
    data = written(tmp_path, {"id": 7, "question": "q", "context": "c", "answer": "a"}, {"id": 8, "question": "q"})
    (item,), empty = load_items(data, "question-answering", Fields(), Languages(), None)
    assert empty == 1
    assert json.loads(item.labelled("b", -1.23456)) == {
        "id": 7,
        "question": "q",
        "context": "c",
        "answer": "b",
        "original_target": "a",
        "score": -1.2346,
    }


def test_a_column_of_both_languages_becomes_two(tmp_path: Path) -> None:
    data = written(tmp_path, {"id": 7, "translation": {"de": "ja", "en": "yes"}})
    items, _ = load_items(data, "translation", Fields(), Languages("de_DE", "en_XX", both=True), None)
    forward, backward = (json.loads(item.labelled("x", None)) for item in items)
    assert forward == {
        "id": 7,
        "source": "ja",
        "target": "x",
        "original_target": "yes",
        "source_language": "de_DE",
        "target_language": "en_XX",
    }
    assert backward == {
        "id": 7,
        "source": "yes",
        "target": "x",
        "original_target": "ja",
        "source_language": "en_XX",
        "target_language": "de_DE",
    }


def test_data_without_any_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no row with a source and a target \(of 1\)"):
        load_items(written(tmp_path, {"source": "", "target": "x"}), "summarization", Fields(), Languages(), None)
