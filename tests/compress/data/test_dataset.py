import csv
import gzip
import json
from pathlib import Path

import pytest

from compress.data.dataset import Fields, Languages, load_examples
from compress.errors import DatasetError

ROWS = [{"source": " ein ", "target": "one"}, {"source": "zwei", "target": "two"}, {"source": "", "target": "none"}]


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def load(name: str, task="translation", fields=None, languages=None, limit=None):
    return load_examples(name, "train", task, fields or Fields(), languages or Languages(), limit)


def test_without_labels_sources_are_enough(tmp_path: Path) -> None:
    rows = [{"source": "ein"}, {"source": "zwei", "target": "two"}, {"target": "none"}]
    name = write_jsonl(tmp_path / "rows.jsonl", rows)
    languages = Languages("de_DE", "en_XX", both=True)
    examples = load_examples(name, "train", "translation", Fields(), languages, labels=False)
    assert as_pairs(examples) == [("ein", ""), ("zwei", "two"), ("two", "zwei")]
    assert as_pairs(load(name)) == [("zwei", "two")]


@pytest.mark.parametrize(
    ("task", "row", "source"),
    [
        ("summarization", {"article": "long"}, "long"),
        ("question-answering", {"question": "what", "context": "long"}, "long"),
    ],
)
def test_a_file_of_sources_alone_is_refused_where_labels_are_read(tmp_path: Path, task: str, row: dict, source: str) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", [row])
    (example,) = load_examples(name, "train", task, Fields(), Languages(), labels=False)
    assert source in example.texts.values()
    with pytest.raises(DatasetError, match="has no column"):
        load(name, task)
    other = write_jsonl(tmp_path / "other.jsonl", [{"other": "text"}])
    with pytest.raises(DatasetError, match="has no column source: it has other; --source-field names others"):
        load_examples(other, "train", "summarization", Fields(), Languages(), labels=False)


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


@pytest.mark.parametrize(
    ("context", "read"), [(" one ", "one"), (["one ", "", " two"], ("one", "two")), (["one"], ("one",))]
)
def test_question_answering_reads_a_context_or_its_passages(tmp_path: Path, context, read) -> None:
    name = write_jsonl(tmp_path / "a.jsonl", [{"question": "q", "context": context, "answer": "a"}])
    (example,) = load(name, "question-answering")
    assert (dict(example.texts), example.target) == ({"question": "q", "context": read}, "a")


def test_a_row_without_a_passage_is_dropped(tmp_path: Path) -> None:
    rows = [{"question": "q", "context": context, "answer": "a"} for context in ([], ["", " "], ["one"])]
    (example,) = load(write_jsonl(tmp_path / "a.jsonl", rows), "question-answering")
    assert example.texts["context"] == ("one",)


def test_further_references_are_read_once_each_and_without_the_target(tmp_path: Path) -> None:
    rows = [{"source": "long", "target": "short", "all": ["short", " brief ", "", "terse", "brief"]}]
    rows.append({"source": "longer", "target": "shorter", "all": None})
    name = write_jsonl(tmp_path / "a.jsonl", rows)
    examples = load(name, "summarization", Fields(references="all"))
    assert [example.references for example in examples] == [("short", "brief", "terse"), ("shorter",)]
    assert [example.references for example in load(name, "summarization")] == [("short",), ("shorter",)]


@pytest.mark.parametrize("columns", [{"source": "a", "target": "b"}, {"translation": {"de": "a", "en": "b"}}])
def test_a_missing_column_of_references_names_those_there_are(tmp_path: Path, columns) -> None:
    name = write_jsonl(tmp_path / "a.jsonl", [columns])
    with pytest.raises(DatasetError, match=f"no column all: it has {', '.join(columns)}; --references-field"):
        load(name, fields=Fields(references="all"), languages=Languages("de_DE", "en_XX"))


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


def test_rows_that_are_dropped_are_counted_by_what_is_empty(tmp_path: Path) -> None:
    rows = [*ROWS, {"source": "drei", "target": None}, {"source": None, "target": " "}]
    told: list[str] = []
    examples = load_examples(
        write_jsonl(tmp_path / "a.jsonl", rows), "train", "translation", Fields(), Languages(), tell=told.append
    )
    assert as_pairs(examples) == [("ein", "one"), ("zwei", "two")]
    assert told == [f"{tmp_path / 'a.jsonl'}: 3 of 5 rows dropped: 2 with an empty source, 2 with an empty target"]


def test_nothing_is_told_of_whole_data(tmp_path: Path) -> None:
    told: list[str] = []
    load_examples(
        write_jsonl(tmp_path / "a.jsonl", ROWS[:2]), "train", "translation", Fields(), Languages(), tell=told.append
    )
    assert told == []


def test_data_that_is_dropped_whole_says_why(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no example with a source and a target, of 1 rows: 1 with an empty source"):
        load(write_jsonl(tmp_path / "a.jsonl", ROWS[2:]))


def test_a_missing_column_names_the_flags_for_others(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match="no column source, target: it has a, b; --source-field and --target-field name others"
    ):
        load(write_jsonl(tmp_path / "a.jsonl", [{"a": "x", "b": "y"}]))


def test_a_translation_column_of_texts_is_refused(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "a.jsonl", [{"translation": "one"}])
    with pytest.raises(DatasetError, match="translation holds 'one', an object of language codes to texts is expected"):
        load(name, languages=Languages("de_DE", "en_XX"))


def test_a_row_that_names_its_languages_is_of_that_direction_only(tmp_path: Path) -> None:
    labelled = {"source": "yes", "target": "ja", "source_language": "en_XX", "target_language": "de_DE"}
    rows = [labelled, {"source": "nein", "target": "no"}]
    examples = load(write_jsonl(tmp_path / "a.jsonl", rows), languages=Languages("de_DE", "en_XX", both=True))
    assert as_pairs(examples) == [("yes", "ja"), ("nein", "no"), ("no", "nein")]
    assert [example.target_language for example in examples] == ["de_DE", "en_XX", "de_DE"]


def test_a_row_of_other_languages_is_refused(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "a.jsonl", [{**ROWS[0], "source_language": "fr_XX", "target_language": "en_XX"}])
    with pytest.raises(DatasetError, match="has a row of fr_XX to en_XX, but the languages are de_DE and en_XX"):
        load(name, languages=Languages("de_DE", "en_XX"))


@pytest.mark.parametrize(
    ("cell", "keys"), [({"text": ["a"], "answer_start": [1]}, "text, answer_start"), (["a", {"b": 1}], "b"), ({}, "nothing")]
)
def test_a_cell_that_is_an_object_is_no_text(tmp_path: Path, cell: object, keys: str) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", [{"source": "a", "target": "b"}, {"source": "c", "target": cell}])
    with pytest.raises(DatasetError, match=f"row 2 holds an object with {keys}: a text, a number or a list"):
        load(data, languages=Languages("de_DE", "en_XX"))


def test_languages_of_a_row_that_are_no_texts_are_refused(tmp_path: Path) -> None:
    row = {"source": "a", "target": "b", "source_language": ["de_DE"], "target_language": {"en_XX": 1}}
    data = write_jsonl(tmp_path / "data.jsonl", [row])
    with pytest.raises(DatasetError, match="but the languages are de_DE and en_XX"):
        load(data, languages=Languages("de_DE", "en_XX"))
