"""The table of tensors at the start of a safetensors file, looked at before the library reads it.

The library checks that offsets and shapes agree and that the file is covered, without gaps and overlaps. But it takes
tables of up to 100 MB, of which it makes 1 GB of objects, and of a name that occurs twice it silently takes the last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from quant.strange_files import parse_json

LARGEST_TABLE = 2**22
"""Bytes; the model of most layers that we read has half of it."""


class TableError(ValueError):
    """A table that is not read."""


class Table(NamedTuple):
    """What a file says of its tensors; not to be believed before the library has opened the file."""

    entries: Any
    first_byte: int
    """Of the tensors."""

    def place(self, name: str) -> int:
        """Where in the file a tensor begins."""
        return self.first_byte + int(self.entries[name]["data_offsets"][0])


def read_table(path: Path) -> Table:
    """Raises TableError, OSError."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LARGEST_TABLE:
            raise TableError(f"its table of tensors has {length} bytes, {LARGEST_TABLE} at most are read")
        try:
            return Table(parse_json(file.read(length)), 8 + length)
        except ValueError as error:
            raise TableError(f"its table of tensors is not readable as JSON: {error}") from error
