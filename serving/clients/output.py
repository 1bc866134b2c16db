"""Where answers go: standard output, or a file that grows by whole answers and is continued after the last one.

FILE.run.json beside the file says what it was made with; a run with other settings or another input is refused, for a file
must not be of two kinds.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol


class OutputError(ValueError):
    """A file that cannot be continued. The message says what is at odds."""


class Output(Protocol):
    """Takes the lines of answers in their order."""

    done: int
    """Inputs that were answered before."""

    def append(self, lines: Sequence[str]) -> None:
        """Add whole lines, without their ends."""


class StandardOutput:
    """Everything is printed, and nothing is remembered."""

    done = 0

    def append(self, lines: Sequence[str]) -> None:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


class OutputFile:
    """A file that a run with the same settings continues."""

    def __init__(self, path: Path, made_with: Mapping[str, Any], lines_per_input: int) -> None:
        """Cuts off what an interrupted run left of an answer. Raises OutputError."""
        self._path = path
        record = path.with_name(f"{path.name}.run.json")
        wanted = json.loads(json.dumps(made_with))
        if path.exists():
            _check(path, record, wanted)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps(wanted, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        with path.open("ab+") as file:
            file.seek(0)
            content = file.read()
            self.done = content.count(b"\n") // lines_per_input
            whole = content.split(b"\n")[: self.done * lines_per_input]
            file.truncate(sum(len(line) + 1 for line in whole))

    def append(self, lines: Sequence[str]) -> None:
        """They are on the disk when this returns."""
        with self._path.open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())


def _check(path: Path, record: Path, wanted: dict[str, Any]) -> None:
    try:
        saved = json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutputError(f"output = {str(path)!r}: exists, and {record.name} beside it does not: choose another") from None
    except ValueError as error:
        raise OutputError(f"{record} does not say what the file beside it was made with: {error}") from error
    keys = [key for key in {**saved, **wanted} if saved.get(key) != wanted.get(key)]
    if keys:
        differing = "; ".join(
            "the input has changed" if key == "input" else f"{key} was {saved.get(key)}, is {wanted.get(key)}"
            for key in keys
        )
        raise OutputError(f"output = {str(path)!r}: was made otherwise: {differing}. Remove it, or choose another")
