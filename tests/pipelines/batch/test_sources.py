from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import datasets
import pytest

from pipelines.batch.errors import BatchError
from pipelines.batch.files import File, Record, read, read_parquet, scan
from pipelines.batch.sources import given, opened

ROWS = [{"text": "guten morgen", "x": 1}, {"text": "welt", "x": 2}]


def rows_of(file: File) -> Sequence[Record]:
    places = scan(file).places
    if file.kind == "parquet":
        rows: list[Record] = read_parquet(file, places[0], places[-1]).to_pylist()
        return rows
    return read(file, places[0], places[-1])


def test_a_folder_is_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl.gz", ".hidden.jsonl", "README.md"):
        (tmp_path / name).write_text("{}")
    found = given([str(tmp_path)])
    assert [(each.name, each.is_copied) for each in found] == [
        (str(tmp_path / "a.jsonl.gz"), True),
        (str(tmp_path / "b.jsonl"), False),
    ]


def test_of_the_output_of_another_run_its_parts_are_read(tmp_path: Path) -> None:
    for name in ("part-000000.parquet", "bad-rows.jsonl", "run.json"):
        (tmp_path / name).touch()
    assert [each.name for each in given([str(tmp_path)])] == [str(tmp_path / "part-000000.parquet")]
    (tmp_path / "run.json").unlink()
    with pytest.raises(BatchError, match="of several kinds, jsonl, parquet"):
        given([str(tmp_path)])


def test_what_is_compressed_is_read_from_a_copy(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(lines))
    (entry,) = given([str(tmp_path / "in.jsonl.gz")])
    assert rows_of(opened(entry, tmp_path / "copy", None)) == ROWS
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(lines)[:-9])
    with pytest.raises(BatchError, match=r"in\.jsonl\.gz cannot be read"):
        opened(entry, tmp_path / "copy", None)


def test_data_sets_as_they_were_saved(tmp_path: Path) -> None:
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": data, "test": data.select([1])}).save_to_disk(tmp_path / "several")
    (one,) = given([str(tmp_path / "one")])
    assert rows_of(opened(one, tmp_path / "copy", None)) == ROWS
    (test,) = given([f"{tmp_path / 'several'}@test"])
    assert rows_of(opened(test, tmp_path / "copy", None)) == ROWS[1:]
    for name, fault in (
        (f"{tmp_path / 'several'}", "has the splits train, test: .*@SPLIT names one"),
        (f"{tmp_path / 'several'}@dev", "has no split dev: it has train, test"),
        (f"{tmp_path / 'one'}@test", "is of one split: leave @test out"),
    ):
        (entry,) = given([name])
        with pytest.raises(BatchError, match=fault):
            opened(entry, tmp_path / "copy", None)
