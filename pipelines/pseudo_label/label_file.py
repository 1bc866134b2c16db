"""The output file, which grows by whole lines and is continued after the last one.

FILE.run.json beside it says what the lines were made with; other settings are refused, for a file must not be of two kinds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from compress.errors import CompressError


class LabelFileError(CompressError):
    """A file that cannot be continued."""


class LabelFile:
    """Opened with what the labels are made with; `done` is how many lines there are already."""

    def __init__(self, path: Path, made_with: Mapping[str, Any]) -> None:
        """Cuts off half a line, as a killed process leaves one. Raises LabelFileError."""
        self._path = path
        record = path.with_name(f"{path.name}.run.json")
        wanted = json.loads(json.dumps(made_with))
        if path.exists():
            saved = _read(record)
            if saved != wanted:
                keys = [key for key in {**saved, **wanted} if saved.get(key) != wanted.get(key)]
                differing = "; ".join(f"{key} was {saved.get(key)}, is {wanted.get(key)}" for key in keys)
                raise LabelFileError(f"{path} was made with other settings: {differing}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps(wanted, indent=2, ensure_ascii=False) + "\n")
        with path.open("ab+") as file:
            file.seek(0)
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
        self.done = content.count(b"\n")

    def append(self, lines: Iterable[str]) -> None:
        """Add whole lines; they are on the disk when this returns."""
        with self._path.open("ab") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())


def _read(record: Path) -> dict[str, Any]:
    try:
        entries: dict[str, Any] = json.loads(record.read_text())
    except (FileNotFoundError, ValueError) as error:
        raise LabelFileError(f"{record} does not say what the labels beside it were made with: {error}") from error
    return entries
