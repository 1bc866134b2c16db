import csv
import gzip
import json
from pathlib import Path

import pytest

from compress.data.dataset import DatasetError, Fields, Languages, load_examples

ROWS = [{"source": " ein ", "target": "one"}, {"source": "zwei", "target": "two"}, {"source": "", "target": "none"}]


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def load(name: str, task="translation", fields=None, languages=None, limit=None):
    return load_examples(name, "train", task, fields or Fields(), languages or Languages(), limit)


def as_pairs(examples) -> list[tuple[str, str]]:
    return [(example.texts["source"], example.target) for example in examples]


def test_json_lines_csv_and_parquet_hold_the_same_examples(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [write_jsonl(tmp_path / "rows.jsonl", ROWS), str(tmp_path / "rows.csv"), str(tmp_path / "rows.parquet")]
    with open(names[1], "w", newline="") as file:
        writer = csv.DictWriter(file, ["source", "target"])
        writer.writeheader()
        writer.writerows(ROWS)
    pq.write_table(pa.Table.from_pylist(ROWS), names[2])
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as packed:
        packed.write((tmp_path / "rows.jsonl").read_text())
    for name in (*names, str(tmp_path / "rows.jsonl.gz")):
        assert as_pairs(load(name)) == [("ein", "one"), ("zwei", "two")], name


def test_both_directions_add_each_pair_the_other_way(tmp_path: Path) -> None:
    examples = load(write_jsonl(tmp_path / "a.jsonl", ROWS[:1]), languages=Languages("de_DE", "en_XX", both=True))
    assert as_pairs(examples) == [("ein", "one"), ("one", "ein")]
    assert [(e.source_language, e.target_language) for e in examples] == [("de_DE", "en_XX"), ("en_XX", "de_DE")]


@pytest.mark.parametrize(("source", "target"), [("article", "highlights"), ("document", "summary"), ("source", "target")])
def test_summarization_knows_the_common_column_names(tmp_path: Path, source: str, target: str) -> None:
    name = write_jsonl(tmp_path / "a.jsonl", [{source: "long", target: "short"}])
    assert as_pairs(load(name, "summarization")) == [("long", "short")]


def test_question_answering_reads_three_columns_and_joins_passages(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "a.jsonl", [{"question": "q", "context": ["one", "two"], "answer": "a"}])
    (example,) = load(name, "question-answering")
    assert (dict(example.texts), example.target) == ({"question": "q", "context": "one two"}, "a")


def test_a_translation_dict_is_read_by_language(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "a.jsonl", [{"translation": {"de": "ein", "en": "one"}}])
    assert as_pairs(load(name, languages=Languages("de_DE", "en_XX"))) == [("ein", "one")]
    with pytest.raises(DatasetError, match="have de, en, not fr_XX"):
        load(name, languages=Languages("fr_XX", "en_XX"))


def test_flags_name_other_columns(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "a.jsonl", ROWS[1:2])
    assert as_pairs(load(name, fields=Fields(source="target", target="source"))) == [("two", "zwei")]


def test_a_missing_column_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no column question, context, answer: it has source, target"):
        load(write_jsonl(tmp_path / "a.jsonl", ROWS), "question-answering")


def test_the_limit_counts_rows(tmp_path: Path) -> None:
    assert len(load(write_jsonl(tmp_path / "a.jsonl", ROWS), limit=1)) == 1


def test_data_without_any_example_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no example"):
        load(write_jsonl(tmp_path / "a.jsonl", ROWS[2:]))


@pytest.mark.parametrize(("name", "message"), [("no.jsonl", "does not exist"), ("text.txt", "jsonl")])
def test_unreadable_files_are_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(DatasetError, match=message):
        load(str(tmp_path / name))


def test_broken_json_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"source": ')
    with pytest.raises(DatasetError, match=r"a\.jsonl cannot be read"):
        load(str(tmp_path / "a.jsonl"))
