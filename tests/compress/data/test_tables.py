import datetime
import gzip
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compress.data.dataset import Fields, Languages, load_examples
from compress.data.tables import is_local, load_table
from compress.errors import DatasetError

ROWS = [{"source": "ein", "target": "one"}, {"source": "zwei", "target": "two"}]


@pytest.fixture
def data() -> datasets.Dataset:
    return datasets.Dataset.from_list(ROWS)


def saved(data, folder: Path) -> str:
    datasets.disable_progress_bars()
    data.save_to_disk(folder)
    return str(folder)


def test_a_saved_split_is_read_whatever_split_is_asked_for(data: datasets.Dataset, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        table = load_table(saved(data, tmp_path / split), split)
        assert table.columns == ["source", "target"]
        assert list(table.rows()) == ROWS


def test_of_several_saved_splits_one_is_named_or_the_usual_one_is_taken(data: datasets.Dataset, tmp_path: Path) -> None:
    folder = saved(datasets.DatasetDict(train=data, test=data.select([1])), tmp_path / "both")
    assert list(load_table(folder, "train").rows()) == ROWS
    assert list(load_table(f"{folder}@test", "train").rows()) == ROWS[1:]
    with pytest.raises(DatasetError, match='cannot be read: Unknown split "validation"'):
        load_table(folder, "validation")


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_files_of_texts_in_a_folder_are_read_like_files_alone(tmp_path: Path, ending: str) -> None:
    rows = [{"source": "null", "target": "007"}, {"source": "2024-01-02", "target": "1.50"}]
    for split, each in (("train", rows), ("validation", rows[1:])):
        path = tmp_path / f"{split}.{ending}"
        if ending == "csv":
            path.write_text("source;target\n" + "".join(f"{row['source']};{row['target']}\n" for row in each))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in each))
    (tmp_path / f"train-more.{ending}.gz").write_bytes(gzip.compress((tmp_path / f"validation.{ending}").read_bytes()))
    table = load_table(str(tmp_path), "train")
    assert table.columns == ["source", "target"]
    assert sorted(map(str, table.rows())) == sorted(map(str, [*rows, rows[1]]))
    assert list(load_table(str(tmp_path), "validation").rows()) == rows[1:]
    with pytest.raises(DatasetError, match="has no split test: it has train, validation; NAME@SPLIT names one"):
        load_table(str(tmp_path), "test")


def test_a_file_that_is_missing_is_no_hub_id() -> None:
    assert is_local("some/rows.jsonl.gz")
    assert is_local("/data/corpus")
    assert not is_local("cnn_dailymail:3.0.0")
    for name in ("rows.jsonl", "/no/such/folder", "/no/such/folder@train"):
        with pytest.raises(DatasetError, match="does not exist"):
            load_table(name, "train")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_texts_are_the_same_from_every_kind_of_file(tmp_path: Path, ending: str) -> None:
    texts = ["null", "None", "NA", "007", "1.50", "2024-01-02"]
    path = tmp_path / f"rows.{ending}"
    rows = [{"source": text, "target": text} for text in texts]
    if ending == "csv":
        path.write_text("source,target\n" + "".join(f"{text},{text}\n" for text in texts))
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    examples = load_examples(str(path), "train", "summarization", Fields(), Languages())
    assert [(example.texts["source"], example.target) for example in examples] == [(text, text) for text in texts]


def test_values_of_parquet_that_are_no_texts_become_plain_ones(tmp_path: Path) -> None:
    rows = [
        {"source": datetime.date(2024, 1, 2), "target": 7, "other": 1.5},
        {"source": None, "target": 8, "other": float("nan")},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    name = str(tmp_path / "rows.parquet")
    (example,) = load_examples(name, "train", "summarization", Fields(), Languages())
    assert (example.texts["source"], example.target) == ("2024-01-02", "7")
    (example,) = load_examples(name, "train", "summarization", Fields(source="other"), Languages())
    assert example.texts["source"] == "1.5"


def test_numbers_and_truth_of_json_are_texts_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"source": 1.50, "target": true}\n')
    (example,) = load_examples(str(tmp_path / "a.jsonl"), "train", "summarization", Fields(), Languages())
    assert (example.texts["source"], example.target) == ("1.50", "true")


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(DatasetError, match=r"a\.parquet cannot be read"):
        load_table(str(tmp_path / "a.parquet"), "train")


def test_only_the_rows_asked_for_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("source,target\n" + "a,b\n" * 200 + "a,b,c\n")
    assert len(list(load_table(str(tmp_path / "a.csv"), "train").rows(150))) == 150


def summaries(path: Path, source: pa.Array) -> list[object]:
    pq.write_table(pa.table({"source": source, "target": ["x"] * len(source)}), path)
    return [example.texts["source"] for example in load_examples(str(path), "train", "summarization", Fields(), Languages())]


def test_texts_that_parquet_has_as_bytes_are_texts(tmp_path: Path) -> None:
    assert summaries(tmp_path / "data.parquet", pa.array(["Grüße".encode(), b" b "])) == ["Grüße", "b"]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (pa.array([b"\xff"]), "row 1 holds bytes that are no UTF-8"),
        (pa.array([{"a": "b"}]), "row 1 holds an object with a"),
        (pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())), "row 1 holds an object with a, b"),
        (pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(bytes(4) + b"\1\0\0\0"), pa.py_buffer(b"\xff")]), "read"),
        (pa.array([10**9], pa.date32()), "cannot be read"),
    ],
)
def test_values_of_parquet_that_no_text_can_be_made_of_are_refused(tmp_path: Path, source: pa.Array, fault: str) -> None:
    with pytest.raises(DatasetError, match=fault):
        summaries(tmp_path / "data.parquet", source)
