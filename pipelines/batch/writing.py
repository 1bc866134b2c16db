"""The file of a part: rows as they were, with their new columns, in one of three formats.

Parquet keeps the types of Parquet. JSON lines keep what JSON has, and CSV the cells as they were written; in CSV a list or
an object is JSON.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.batch.commands import OutputFormat
from pipelines.batch.errors import BatchError
from pipelines.batch.files import File, Unreadable, parquet_schema, read

if TYPE_CHECKING:
    import pyarrow

_AT_A_TIME = 1 << 24


def schema_of(files: Sequence[File]) -> pyarrow.Schema:
    """Columns of the input and their types in Parquet: those it has, texts for CSV, and for JSON what all of it fits into.

    Raises BatchError for columns that have no type.
    """
    import pyarrow as pa

    found: pa.Schema | None = None
    for file in files:
        for schema in _schemas(file):
            try:
                found = schema if found is None else pa.unify_schemas([found, schema], promote_options="permissive")
            except pa.ArrowException as error:
                raise BatchError(f"{file.path}: its columns differ from those before it: {_line(error)}") from error
    return found if found is not None else pa.schema([])


def _schemas(file: File) -> Sequence[pyarrow.Schema]:
    import pyarrow as pa

    if file.kind == "parquet":
        return [parquet_schema(file)]
    if file.kind == "csv":
        return [pa.schema([(name, pa.string()) for name in file.header])]
    if file.kind == "text":
        return [pa.schema([("text", pa.string())])]
    schemas, start, size = [], 0, file.path.stat().st_size
    while start < size:
        end = _line_end(file.path, min(start + _AT_A_TIME, size))
        rows = [dict(each) for each in read(file, start, end) if not isinstance(each, Unreadable)]
        try:
            schemas += [pa.Table.from_pylist(rows).schema] if rows else []
        except (pa.ArrowException, OverflowError) as error:
            raise BatchError(
                f"{file.path} has a column of several types, which Parquet has not: {_line(error)}; "
                "--output-format jsonl keeps them"
            ) from error
        start = end
    return schemas


def write(
    path: Path,
    output_format: OutputFormat,
    rows: pyarrow.Table | Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    schema: pyarrow.Schema | None,
    new: pyarrow.Schema,
) -> None:
    """Write rows beside the cells that each gets; `schema` is the input's, which JSON lines of JSON lines need not have."""
    import pyarrow as pa

    if output_format == "parquet":
        from pyarrow import parquet

        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        added = pa.Table.from_pylist([dict(each) for each in cells], schema=new)
        for name in new.names:
            table = table.append_column(new.field(name), added.column(name))
        parquet.write_table(table, path, compression="zstd")
        return
    records = rows.to_pylist() if isinstance(rows, pa.Table) else rows
    whole = [{**record, **each} for record, each in zip(records, cells, strict=True)]
    with path.open("w", encoding="utf-8", newline="") as file:
        if output_format == "jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in whole)
            return
        assert schema is not None, "the columns of CSV are those of all rows"
        writer = csv.DictWriter(file, [*schema.names, *new.names], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in whole)


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict | bool):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value


def _line_end(path: Path, place: int) -> int:
    """The end of the line that the byte before `place` is in."""
    with path.open("rb") as file:
        file.seek(place - 1)
        return place - 1 + len(file.readline())


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
