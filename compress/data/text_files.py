"""Rows of CSV and JSON-lines files, every cell as it is written there.

Readers made for numbers turn `007` into 7, `1.50` into 1.5, `null` and `NA` into nothing, and dates into times of day. These
are texts to be learned: none of it is wanted.

The encoding is UTF-8, or what a byte-order mark says, or a flag. The delimiter of CSV is the one that the header and the
first rows agree on.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Self, TextIO

from compress.errors import DatasetError

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as that of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LOOKED_AT = 1000
"""Rows of JSON lines whose keys are the columns."""
_COMPARED = 100
"""Rows of CSV that tell its delimiter."""
_LONGEST_CELL = 2**31 - 1
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
"""Spells half of a surrogate pair, of which two make a character."""


@dataclass(frozen=True)
class TextFile:
    """A file of text, which may be gzipped; None for what is found out by looking. A delimiter may be named, as `tab`."""

    path: Path
    encoding: str | None = None
    delimiter: str | None = None

    def lines(self) -> Iterator[str]:
        """As they are, with their ends. Raises DatasetError."""
        encoding = self.encoding or "utf-8"
        try:
            encoding = self._byte_order_mark() or encoding
            with self._open(encoding) as file:
                yield from file
        except UnicodeError as error:
            fault = self._undecodable(encoding)
            raise DatasetError(f"{fault}; --encoding names another one, such as cp1252 or utf-16") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DatasetError(f"{self.path} cannot be read: {error}") from error

    def _open(self, encoding: str) -> TextIO:
        if self.path.suffix == ".gz":
            return gzip.open(self.path, "rt", encoding=encoding, newline="")
        return self.path.open(encoding=encoding, newline="")

    def _bytes(self) -> Any:
        return gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb")

    def _byte_order_mark(self) -> str | None:
        with self._bytes() as file:
            start = file.read(4)
        return next((encoding for mark, encoding in _BYTE_ORDER_MARKS if start.startswith(mark)), None)

    def _undecodable(self, encoding: str) -> str:
        if encoding.lower().startswith(("utf-16", "utf-32")):  # whose lines do not end in a byte of their own
            return f"{self.path} is no {encoding}"
        with self._bytes() as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode(encoding)
                except UnicodeDecodeError as error:
                    around = line[max(0, error.start - 20) : error.start + 20].strip()
                    byte = line[error.start]
                    return f"{self.path} is no {encoding}: line {number} has the byte 0x{byte:02x} in {around!r}"
        return f"{self.path} is no {encoding}"


@dataclass(frozen=True)
class CSVFile:
    """A header, and rows of as many cells; cells with delimiters, quotes or line breaks in them stand in double quotes."""

    file: TextFile

    def columns(self) -> list[str]:
        columns = next(self._records(self.dialect), (0, []))[1]
        if not columns:
            raise DatasetError(f"{self.file.path} is empty: a header with the names of the columns is expected")
        if doubled := sorted({name for name in columns if columns.count(name) > 1}):
            raise DatasetError(f"{self.file.path} has several columns {', '.join(doubled)}")
        return columns

    def rows(self) -> Iterator[Mapping[str, str | None]]:
        """Cells by column, None where a row ends before it. Raises DatasetError."""
        columns = self.columns()
        for number, cells in islice(self._records(self.dialect), 1, None):
            if len(cells) > len(columns):
                delimiter = self.dialect["delimiter"]
                named = next((name for name, each in DELIMITERS.items() if each == delimiter), delimiter)
                raise DatasetError(
                    f"{self.file.path} cannot be read: line {number} has {len(cells)} cells, the header {len(columns)}: a "
                    f"cell with a {named} in it stands in double quotes; --delimiter names another delimiter"
                )
            yield {name: cells[index] if index < len(cells) else None for index, name in enumerate(columns)}

    def _records(self, dialect: Mapping[str, Any]) -> Iterator[tuple[int, list[str]]]:
        """The line that each ends in, and its cells; without blank lines."""
        csv.field_size_limit(_LONGEST_CELL)
        reader = csv.reader(self.file.lines(), strict=True, **dialect)
        try:
            for cells in reader:
                if cells:  # else the line is blank
                    yield reader.line_num, cells
        except csv.Error as error:
            raise DatasetError(
                f"{self.file.path} cannot be read: line {reader.line_num}: {error}; cells with delimiters, quotes or line "
                "breaks in them stand in double quotes, in which a quote is doubled"
            ) from error

    @cached_property
    def dialect(self) -> dict[str, Any]:
        """What fits the first rows best. Beside tabs a quote may be a letter like others."""
        given = DELIMITERS.get(self.file.delimiter or "", self.file.delimiter)
        candidates: list[dict[str, Any]] = [{"delimiter": each} for each in ([given] if given else DELIMITERS.values())]
        candidates += [{"delimiter": "\t", "quoting": csv.QUOTE_NONE}] if given in (None, "\t") else []
        return max(candidates, key=self._fit)

    def _fit(self, dialect: Mapping[str, Any]) -> tuple[bool, float]:
        """Whether the header has several columns, and the share of the first rows that have as many."""
        lengths, damaged = [], False
        try:
            for _, cells in islice(self._records(dialect), _COMPARED):
                lengths.append(len(cells))
        except DatasetError:
            damaged = True
        if not lengths:
            return False, 0.0
        return lengths[0] > 1, 0.0 if damaged else lengths.count(lengths[0]) / len(lengths)


@dataclass(frozen=True)
class JSONFile:
    """JSON lines, or one array of objects."""

    file: TextFile

    def columns(self) -> list[str]:
        """Of the first rows."""
        return list(dict.fromkeys(key for row in islice(self.rows(), _LOOKED_AT) for key in row))

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """Numbers remember how they are written. Raises DatasetError."""
        lines = ((number, line) for number, line in enumerate(self.file.lines(), 1) if not line.isspace())
        for number, line in lines:
            if line.lstrip().startswith("["):
                entries = self._parsed(number, line + "".join(rest for _, rest in lines))
                yield from (self._object(f"entry {index}", entry) for index, entry in enumerate(entries, 1))
                return
            yield self._object(f"line {number}", self._parsed(number, line))

    def _parsed(self, number: int, text: str) -> Any:
        try:
            value = json.loads(
                text.rstrip(), parse_int=_WrittenInt, parse_float=_WrittenFloat, parse_constant=lambda _: None
            )
            if _HALF_PAIR.search(text):
                json.dumps(value, ensure_ascii=False).encode()
            return value
        except json.JSONDecodeError as error:
            place = f"line {number + error.lineno - 1}, column {error.colno}"
            raise DatasetError(
                f"{self.file.path} cannot be read: {place}: {error.msg}; JSON lines or one array of objects is expected"
            ) from error
        except UnicodeEncodeError as error:
            raise self._unreadable(number, "half a surrogate pair is no text") from error
        except RecursionError as error:
            raise self._unreadable(number, "too many lists and objects within one another") from error
        except ValueError as error:  # of Python's, for numbers of thousands of digits
            raise self._unreadable(number, "a number has too many digits") from error

    def _unreadable(self, number: int, fault: str) -> DatasetError:
        return DatasetError(f"{self.file.path} cannot be read: line {number}: {fault}")

    def _object(self, place: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise DatasetError(f"{self.file.path} cannot be read: {place} is no JSON object of columns to texts")
        return value


class _Written:
    """A number whose text is the one that it was written as; `json` writes the number."""

    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)  # type: ignore[call-arg]  # of the kind of number
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text


class _WrittenInt(_Written, int):
    pass


class _WrittenFloat(_Written, float):
    pass
