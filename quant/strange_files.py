"""Files that a stranger may have made: within their folder, within a size, and JSON that means one thing only.

What a name leads to is looked at before it is opened: a pipe would never end, and a link may lead to any file of the
machine. Sizes are looked at before anything is read. JSON takes up to some 40 times its bytes as Python objects, so that its
limits are close to what is ever needed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LARGEST_JSON = 2**20
"""Bytes of a JSON file that we are willing to parse; the longest that we write has some 10,000."""

MOST_DEPTH = 32
"""Lists and objects within one another."""


class StrangeFileError(ValueError):
    """A file that is not read. The message names it and says why."""


class MissingFileError(StrangeFileError):
    """There is no such file, or something else by its name."""


def regular_file(path: Path) -> Path:
    """Where the file `path` really is. Raises MissingFileError, and StrangeFileError for a link out of its folder.

    In the cache of the Hugging Face hub, links lead from a snapshot's folder to the blobs beside it.
    """
    try:
        folder, target = path.parent.resolve(), path.resolve(strict=True)
        if not target.is_file():
            raise MissingFileError(f"{path} is missing")
    except (OSError, RuntimeError) as error:  # the latter for links that lead in a circle
        if isinstance(error, PermissionError):
            raise StrangeFileError(f"{path} cannot be read: {error.strerror}") from error
        raise MissingFileError(f"{path} is missing") from error
    blobs = folder.parent.parent / "blobs" if folder.parent.name == "snapshots" else folder
    if not (target.is_relative_to(folder) or target.parent == blobs):
        raise StrangeFileError(f"{path} is a link out of its folder, which is not followed: put the file itself there")
    return target


def read_bytes(path: Path, most: int) -> bytes:
    """The whole file. Raises StrangeFileError."""
    try:
        with regular_file(path).open("rb") as file:
            size = file.seek(0, 2)
            if size > most:
                raise StrangeFileError(f"{path} has {size} bytes, {most} at most are read")
            file.seek(0)
            return file.read(most)
    except OSError as error:
        raise StrangeFileError(f"{path} cannot be read: {error.strerror}") from error


def read_json(path: Path, most: int = LARGEST_JSON) -> Any:
    """The value in the file. Raises StrangeFileError."""
    content = read_bytes(path, most)
    try:
        return parse_json(content)
    except ValueError as error:
        raise StrangeFileError(f"{path} is not readable as JSON: {error}") from error


def parse_json(content: bytes) -> Any:
    """The value that is spelt. Raises ValueError, also for what Python's reader lets pass: names that occur twice in an
    object, NaN and infinities, halves of surrogate pairs, deep nesting.
    """
    try:
        value = json.loads(content.decode(), object_pairs_hook=without_repetition, parse_constant=no_constant)
        if b"\\u" in content:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"more than {MOST_DEPTH} lists and objects within one another") from None
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair is no text") from None
    if depth_above(value, MOST_DEPTH):
        raise ValueError(f"more than {MOST_DEPTH} lists and objects within one another")
    return value


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: an object. Raises ValueError where a name stands twice, of which the last would be taken."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has the same name twice")
    return made


def no_constant(spelt: str) -> Any:
    """For `json.loads`. Raises ValueError for NaN and infinities, which are not JSON."""
    raise ValueError(f"{spelt} is no number")


def depth_above(value: Any, most: int) -> bool:
    """Whether lists and objects lie deeper in one another than that; level by level, so that no depth is too much."""
    level = [value]
    for _ in range(most):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True
