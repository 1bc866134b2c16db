"""Rows of a data set by name: a local file, a folder, or a data set of the hub.

A file is JSON lines, CSV (.tsv too) or Parquet by its ending; .gz is fine. A folder is what `datasets` saved with
`save_to_disk`, of one split or of several, or one that it can load. Anything else is a hub id. Of a folder and a hub id,
NAME[:CONFIG][@SPLIT] names a split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from compress.data.text_files import CSVFile, JSONFile, TextFile
from compress.errors import DatasetError

_KINDS: dict[str, str] = {
    **dict.fromkeys((".jsonl", ".json", ".ndjson"), "json"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    ".parquet": "parquet",
}


@dataclass(frozen=True)
class Reading:
    """How text files are read, as flags say; None for what is found out by looking."""

    encoding: str | None = None
    delimiter: str | None = None


AS_FOUND = Reading()


@dataclass(frozen=True)
class Table:
    """A data set whose rows are read one after the other."""

    columns: list[str]
    read: Callable[[], Iterator[Mapping[str, Any]]]

    def rows(self, limit: int | None = None) -> Iterator[Mapping[str, Any]]:
        """At most `limit` of them, from the start. Raises DatasetError."""
        return islice(self.read(), limit)


def is_local(name: str) -> bool:
    """Whether it can only be a file: that one is found without asking the hub, or missing."""
    path = Path(name)
    return path.is_file() or path.is_absolute() or _ending(path) in _KINDS


def load_table(name: str, split: str, reading: Reading = AS_FOUND) -> Table:
    """Columns are known at once; of rows, no more than the first are looked at. Raises DatasetError."""
    path = Path(name)
    if path.is_file():
        kind = _KINDS.get(_ending(path))
        if kind is None:
            raise DatasetError(f"{name} ends in {_ending(path) or 'nothing'}: {', '.join(_KINDS)} are read, .gz too")
        if kind == "parquet":
            return _parquet(path)
        text = TextFile(path, reading.encoding, reading.delimiter or ("\t" if _ending(path) == ".tsv" else None))
        file = CSVFile(text) if kind == "csv" else JSONFile(text)
        return Table(file.columns(), file.rows)
    match = re.fullmatch(r"([^:@]+)(?::([^@]+))?(?:@(.+))?", name)
    if match is None:
        raise DatasetError(f"{name!r} is no file and no hub id: write NAME[:CONFIG][@SPLIT]")
    if is_local(match[1]) and not Path(match[1]).is_dir():
        raise DatasetError(f"{name} does not exist")
    return _by_datasets(name, match[1], match[2], match[3] or split, reading)


def _ending(path: Path) -> str:
    return next((ending for ending in reversed(path.suffixes) if ending != ".gz"), "")


def _parquet(path: Path) -> Table:
    import pyarrow
    from pyarrow import parquet

    def rows() -> Iterator[Mapping[str, Any]]:
        try:
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches():
                    yield from batch.to_pylist()
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # as of texts that are no UTF-8
            raise DatasetError(f"{path} cannot be read: {error}") from error

    try:
        return Table(parquet.read_schema(path).names, rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def _by_datasets(name: str, path: str, config: str | None, split: str, reading: Reading) -> Table:
    import datasets

    datasets.disable_progress_bars()
    try:
        # What `save_to_disk` made of a single split has no name for it.
        if (Path(path) / "state.json").is_file():
            data = datasets.load_from_disk(path)
        elif (files := _text_files(path, config, split, reading)) is not None:
            return _joined(files)
        else:
            data = datasets.load_dataset(path, config, split=split)
    except DatasetError:
        raise
    except Exception as error:  # `datasets` raises its own, pandas', pyarrow's and the hub's errors
        raise DatasetError(f"{name} cannot be read: {str(error).strip() or type(error).__name__}") from error
    return Table(data.column_names, data.__iter__)


def _text_files(path: str, config: str | None, split: str, reading: Reading) -> list[CSVFile | JSONFile] | None:
    """The files of a split, where they are CSV or JSON, which `datasets` would read as numbers and dates; else None."""
    import datasets

    builder = datasets.load_dataset_builder(path, config)
    kind = {"CsvConfig": "csv", "JsonConfig": "json"}.get(type(builder.config).__name__)
    found = {str(each): files for each, files in (builder.config.data_files or {}).items()}
    if kind is None or set("[+") & set(split) or getattr(builder.config, "field", None):
        return None
    if split not in found:
        raise DatasetError(f"{path} has no split {split}: it has {', '.join(found)}; NAME@SPLIT names one")
    paths = [Path(each) for each in datasets.DownloadManager().download_and_extract(list(found[split]))]
    if not all(each.is_file() for each in paths):
        return None
    separator = getattr(builder.config, "sep", ",")
    delimiter = reading.delimiter or (separator if separator != "," else None)  # a comma is what it has for lack of another
    texts = [TextFile(each, reading.encoding, delimiter) for each in paths]
    return [CSVFile(text) if kind == "csv" else JSONFile(text) for text in texts]


def _joined(files: Sequence[CSVFile | JSONFile]) -> Table:
    columns = dict.fromkeys(name for file in files for name in file.columns())
    return Table(list(columns), lambda: chain.from_iterable(file.rows() for file in files))
