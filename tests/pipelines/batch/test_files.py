"""Rows read part by part are the rows of the whole file, and what cannot be read is a row of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from pipelines.batch.errors import BatchError
from pipelines.batch.files import GRAIN, File, Record, Unreadable, columns, open_file, read, read_parquet, scan
from pipelines.batch.parts import parts_of


def rows_by_parts(file: File, rows_each: int = GRAIN) -> list[Record]:
    found: list[Record] = []
    for part in parts_of([scan(file)], rows_each):
        rows: Sequence[Record] = read(file, part.start, part.end)
        assert (part.first_row, part.rows) == (len(found), len(rows))
        found += rows
    return found


def written(path: Path, content: str | bytes) -> File:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_file(path, None)


def test_json_lines_without_blank_ones(tmp_path: Path) -> None:
    rows = [{"text": f"{number} ä\u2028b", "x": [number, None]} for number in range(3 * GRAIN + 1)]
    lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    for content in (lines, f"\ufeff{lines}\r\n", lines.replace("\n", "\r\n")):
        file = written(tmp_path / "in.jsonl", content)
        assert rows_by_parts(file) == rows
        assert columns(file) == ["text", "x"]


def test_lines_of_text_are_rows_even_empty_ones(tmp_path: Path) -> None:
    file = written(tmp_path / "in.txt", "one\r\n\ntwo\x0b\nthree")
    assert rows_by_parts(file) == [{"text": "one"}, {"text": ""}, {"text": "two\x0b"}, {"text": "three"}]
    assert scan(written(tmp_path / "empty.txt", "")).rows == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": ', "no valid JSON"),
        (b"[1]", "no JSON object"),
        (b'{"text": "\xff"}', "no UTF-8"),
        (b'{"text": "\\ud800"}', "half a surrogate pair"),
        (b'{"text": ' + b"9" * 5000 + b"}", "no valid JSON"),
    ],
)
def test_a_line_that_cannot_be_read_is_a_row(line: bytes, reason: str, tmp_path: Path) -> None:
    file = written(tmp_path / "in.jsonl", b'{"text": "a"}\n' + line + b'\n{"text": "b"}\n')
    first, bad, last = rows_by_parts(file)
    assert (first, last) == ({"text": "a"}, {"text": "b"})
    assert isinstance(bad, Unreadable)
    assert bad.reason.startswith(reason)


def test_csv_cells_may_have_lines_and_delimiters_in_them(tmp_path: Path) -> None:
    rows = [{"text": f'{number}, "ä"\nline\r\nlast', "other": "x"} for number in range(2 * GRAIN + 3)]
    quoted = ['"{}","{}"'.format(*(cell.replace('"', '""') for cell in row.values())) for row in rows]
    file = written(tmp_path / "in.csv", "\ufefftext,other\n" + "\n\n".join(quoted))
    assert columns(file) == ["text", "other"]
    assert rows_by_parts(file) == rows


def test_csv_rows_of_other_lengths(tmp_path: Path) -> None:
    file = written(tmp_path / "in.tsv", "text\tother\none\ntwo\t2\nthree\t3\tIII\n")
    one, two, three = rows_by_parts(file)
    assert one == {"text": "one", "other": None}
    assert two == {"text": "two", "other": "2"}
    assert three == Unreadable("three,3,III", "3 cells, where the header has 2")


def test_a_quote_that_is_never_closed_leaves_all_behind_it_in_doubt(tmp_path: Path) -> None:
    file = written(tmp_path / "in.csv", 'text,other\n"one,1\ntwo,2\n')
    with pytest.raises(BatchError, match=r"in\.csv cannot be read: line 3: .*double quotes"):
        scan(file)


cell_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=50)
@given(st.lists(st.tuples(cell_texts, cell_texts), min_size=1, max_size=12))
def test_csv_is_read_as_the_csv_module_reads_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "in.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    assert rows_by_parts(open_file(path, "comma")) == [{"a": one, "b": two} for one, two in rows]


def test_parts_of_parquet_span_row_groups_and_keep_types(tmp_path: Path) -> None:
    rows = 2 * GRAIN + 7
    table = pa.table({"text": [str(row) for row in range(rows)], "x": pa.array(range(rows), pa.int16())})
    path = tmp_path / "in.parquet"
    parquet.write_table(table, path, row_group_size=33)
    file = open_file(path, None)
    parts = parts_of([scan(file)], GRAIN)
    assert [part.rows for part in parts] == [GRAIN, GRAIN, 7]
    assert pa.concat_tables(read_parquet(file, part.start, part.end) for part in parts).equals(table)


def test_a_changed_file_has_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    digests = set()
    for text in ("a", "b"):
        parquet.write_table(pa.table({"text": [text]}), path)
        digests.add(scan(open_file(path, None)).digest)
        digests.add(scan(written(tmp_path / "in.txt", text)).digest)
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("in.doc", b"", r"in\.doc ends in \.doc: \.parquet, \.jsonl"),
        ("in.jsonl", b' [{"text": 1}]', "JSON lines are read"),
        ("in.jsonl", "text".encode("utf-16"), "UTF-16"),
        ("in.csv", b"", "a header with the names"),
        ("in.jsonl", b"{\n", "no JSON object with keys in its first 1 lines"),
        ("in.parquet", b"PAR1", r"in\.parquet cannot be read"),
    ],
)
def test_files_that_are_none(name: str, content: bytes, fault: str, tmp_path: Path) -> None:
    with pytest.raises(BatchError, match=fault):
        columns(written(tmp_path / name, content))
