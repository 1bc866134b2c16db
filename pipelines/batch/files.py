"""Files of rows: which kind each is, where its rows lie, and the rows of one stretch of it.

A file is looked through once, for places where a part may begin (`scan`); a part is then read from there alone, on whatever
machine (`read`). Text is UTF-8. A line that is none, or no JSON object, or has more cells than the header, is `Unreadable`:
a bad row among good ones. What leaves everything after it in doubt, such as a quote that is never closed, is refused whole.
"""

from __future__ import annotations

import codecs
import csv
import functools
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compress.data.text_files import CSVFile, TextFile
from compress.errors import DatasetError
from pipelines.batch.errors import BatchError

if TYPE_CHECKING:
    import pyarrow

Kind = Literal["parquet", "jsonl", "csv", "text"]

KINDS: dict[str, Kind] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
}
TEXT_COLUMN = "text"
"""Of a text file, each of whose lines is a row."""
GRAIN = 50
"""Rows between places where a part may begin."""
_LOOKED_AT = 1000
"""Rows of JSON lines whose keys are the columns."""
_BLOCK = 1 << 20
_LONGEST_CELL = 2**31 - 1


@dataclass(frozen=True)
class File:
    """A file that is not compressed. `dialect` is CSV's, as the csv module takes it; `header` its first row."""

    path: Path
    kind: Kind
    dialect: tuple[tuple[str, Any], ...] = ()
    header: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unreadable:
    """A row that cannot be read: what stands there, and why not."""

    line: str
    reason: str


Record = Mapping[str, Any] | Unreadable


@dataclass(frozen=True)
class Scan:
    """What is known of a file once it was looked through: places `GRAIN` rows apart, the last of them its end."""

    places: tuple[int, ...]
    """Bytes from the start; of Parquet, rows."""
    rows: int
    digest: str
    """Of all bytes; of Parquet, of the footer, which says what stands where, and of the size."""


def open_file(path: Path, delimiter: str | None) -> File:
    """Raises BatchError for a file that cannot be read, or of another kind."""
    kind = KINDS.get(path.suffix)
    if kind is None:
        raise BatchError(f"{path} ends in {path.suffix or 'nothing'}: {', '.join(KINDS)} are read, .gz too")
    try:
        with path.open("rb") as file:
            start = file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()
    except OSError as error:
        raise BatchError(f"{path} cannot be read: {error.strerror or error}") from error
    if kind != "parquet" and start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BatchError(f"{path} is UTF-16: text is read as UTF-8")
    if kind == "jsonl" and start.startswith(b"["):
        raise BatchError(f"{path} is one array of JSON: JSON lines are read, an object on each line")
    if kind != "csv":
        return File(path, kind)
    reader = CSVFile(TextFile(path, None, delimiter or ("\t" if path.suffix == ".tsv" else None)))
    try:
        header = reader.columns()
    except DatasetError as error:
        raise BatchError(str(error)) from error
    return File(path, kind, tuple(reader.dialect.items()), tuple(header))


def columns(file: File) -> list[str]:
    """Of the first rows. Raises BatchError."""
    if file.kind == "text":
        return [TEXT_COLUMN]
    if file.kind == "csv":
        return list(file.header)
    if file.kind == "parquet":
        return list(parquet_schema(file).names)
    with file.path.open("rb") as lines:
        records = [_json_record(line) for line in islice(filter(bytes.strip, lines), _LOOKED_AT)]
    found = dict.fromkeys(key for each in records if not isinstance(each, Unreadable) for key in each)
    if records and not found:
        fault = next((each.reason for each in records if isinstance(each, Unreadable)), "objects without keys")
        raise BatchError(f"{file.path}: no JSON object with keys in its first {len(records)} lines: {fault}")
    return list(found)


def parquet_schema(file: File) -> pyarrow.Schema:
    """Raises BatchError."""
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_schema(file.path)
    except (pyarrow.ArrowException, OSError) as error:
        raise BatchError(f"{file.path} cannot be read: {error}") from error


def scan(file: File) -> Scan:
    """Look through a file. Raises BatchError."""
    try:
        if file.kind == "parquet":
            return _scan_parquet(file.path)
        with file.path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        places, rows, end = [], 0, 0
        for start, after in _csv_records(file) if file.kind == "csv" else _lines(file):
            if rows % GRAIN == 0:
                places.append(start)
            rows, end = rows + 1, after
    except OSError as error:
        raise BatchError(f"{file.path} cannot be read: {error.strerror or error}") from error
    return Scan((*places, end), rows, f"sha256:{digest}")


def read(file: File, start: int, end: int) -> Sequence[Record]:
    """The rows from one place to another; of Parquet `read_parquet` does it."""
    with file.path.open("rb") as content:
        content.seek(start)
        block = content.read(end - start)
    if file.kind == "csv":
        return list(_csv_rows(file, block))
    lines = block.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    if file.kind == "text":
        return [_text_record(line.removesuffix(b"\r")) for line in lines]
    return [_json_record(line) for line in lines if line.strip()]


def read_parquet(file: File, start: int, end: int) -> pyarrow.Table:
    """Rows of a Parquet file, with the types and the metadata of its columns."""
    import pyarrow

    pieces, first, written = [], 0, file.path.stat().st_mtime_ns
    for group, rows in enumerate(_group_sizes(file.path, written)):
        low, high = max(start, first), min(end, first + rows)
        if low < high:
            with _ONE_AT_A_TIME:
                table = _row_group(file.path, written, group)
            pieces.append(table.slice(low - first, high - low))
        first += rows
    return pyarrow.concat_tables(pieces) if pieces else parquet_schema(file).empty_table()


_ONE_AT_A_TIME = threading.Lock()


@functools.lru_cache(maxsize=2)
def _row_group(path: Path, written: int, group: int) -> pyarrow.Table:
    """Kept for the next parts, as long as the file is the same: a row group may have those of many, and is decoded whole."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        return file.read_row_group(group, use_threads=False)


@functools.lru_cache(maxsize=64)
def _group_sizes(path: Path, written: int) -> tuple[int, ...]:
    from pyarrow import parquet

    metadata = parquet.read_metadata(path)
    return tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))


def _scan_parquet(path: Path) -> Scan:
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_metadata(path).num_rows
    except pyarrow.ArrowException as error:
        raise BatchError(f"{path} cannot be read: {error}") from error
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(size - 8)
        footer = int.from_bytes(file.read(4), "little")
        file.seek(size - 8 - footer)
        digest = hashlib.sha256(file.read() + size.to_bytes(8, "little")).hexdigest()
    return Scan((*range(0, rows, GRAIN), rows), rows, f"footer:{digest}")


def _lines(file: File) -> Iterator[tuple[int, int]]:
    """Where each row starts and ends: lines, of JSON those that are not blank."""
    start = 0
    with file.path.open("rb") as content:
        for line in content:
            end = start + len(line)
            if file.kind == "text" or line.strip():
                yield start, end
            start = end


def _csv_records(file: File) -> Iterator[tuple[int, int]]:
    """Where each row after the header starts and ends, as the csv module sees them: a cell may have lines in it."""
    csv.field_size_limit(_LONGEST_CELL)
    end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        with file.path.open("rb") as content:
            for line in content:
                end += len(line)
                yield line.decode("latin-1")  # every byte a character: delimiters, quotes and line breaks are ASCII

    reader = csv.reader(lines(), strict=True, **dict(file.dialect))
    start, header = 0, True
    try:
        for cells in reader:
            if cells and not header:
                yield start, end
            header = header and not cells
            start = end
    except csv.Error as error:
        raise BatchError(
            f"{file.path} cannot be read: line {reader.line_num}: {error}; cells with delimiters, quotes or line breaks in "
            "them stand in double quotes, in which a quote is doubled"
        ) from error


def _csv_rows(file: File, block: bytes) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_CELL)
    # Only at \n, where the file's own lines end.
    lines = (line.decode("latin-1") + "\n" for line in block.removesuffix(b"\n").split(b"\n"))
    for cells in csv.reader(lines, strict=True, **dict(file.dialect)):
        if not cells:
            continue
        try:
            texts = [cell.encode("latin-1").decode("utf-8") for cell in cells]
        except UnicodeDecodeError as error:
            line = ",".join(cells).encode("latin-1")
            yield Unreadable(line.decode("utf-8", "replace"), f"no UTF-8: {error.reason}")
            continue
        if len(texts) > len(file.header):
            yield Unreadable(",".join(texts), f"{len(texts)} cells, where the header has {len(file.header)}")
            continue
        missing = [None] * (len(file.header) - len(texts))
        yield dict(zip(file.header, [*texts, *missing], strict=True))


def _text_record(line: bytes) -> Record:
    try:
        return {TEXT_COLUMN: line.decode("utf-8").removeprefix("\ufeff")}
    except UnicodeDecodeError as error:
        return Unreadable(line.decode("utf-8", "replace"), f"no UTF-8: {error.reason}")


def _json_record(line: bytes) -> Record:
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        return Unreadable(line.decode("utf-8", "replace"), f"no UTF-8: {error.reason}")
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # JSON can spell half of a surrogate pair, which no file takes
    except UnicodeEncodeError:
        return Unreadable(text, "half a surrogate pair is no text")
    except (ValueError, RecursionError) as error:
        return Unreadable(text, f"no valid JSON: {error or 'too many lists and objects within one another'}")
    if not isinstance(value, dict):
        return Unreadable(text, "no JSON object of columns to values")
    return value
