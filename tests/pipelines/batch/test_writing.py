from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.batch import writing
from pipelines.batch.errors import BatchError
from pipelines.batch.files import open_file
from pipelines.batch.writing import schema_of


def test_json_lines_have_the_types_that_all_of_them_fit_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_AT_A_TIME", 10)  # so that no line is cut, and each is looked at by itself
    rows = [{"text": "a", "x": None}, {"text": "b", "x": 1}, {"text": "c", "x": 1.5, "y": [1]}, {"text": "d"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    schema = schema_of([open_file(tmp_path / "in.jsonl", None)])
    assert schema == pa.schema([("text", pa.string()), ("x", pa.float64()), ("y", pa.list_(pa.int64()))])


def test_a_column_of_several_types_has_none_in_parquet(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"x": 1}\n{"x": "a"}\n')
    with pytest.raises(BatchError, match=r"in\.jsonl has a column of several types.*--output-format jsonl keeps them"):
        schema_of([open_file(tmp_path / "in.jsonl", None)])


def test_files_whose_columns_differ_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"x": "a"}\n')
    with pytest.raises(BatchError, match=r"b\.jsonl: its columns differ from those before it"):
        schema_of([open_file(tmp_path / name, None) for name in ("a.jsonl", "b.jsonl")])
