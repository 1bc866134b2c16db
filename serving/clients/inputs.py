"""What a command asks about: arguments, or the lines of a file or of standard input, as plain text or as JSON objects.

Everything is read before anything is sent: a fault in the last line is found at once, and a changed file is told from one
that was asked about before. So an input has to fit into memory.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_FIELD = "text"
"""Of the objects of a file named *.jsonl."""


class InputError(ValueError):
    """An input that cannot be read. The message names the file and the line."""


@dataclass(frozen=True)
class Input:
    """One text, or one question with its contexts."""

    place: str
    """Where it was given, for messages: `line 3`."""
    text: str
    contexts: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """An empty line, which is answered by an empty line."""
        return not self.text.strip()


@dataclass(frozen=True)
class Inputs:
    """All that was given."""

    given: tuple[Input, ...]
    digest: str
    """Of everything that was read."""
    lines: bool
    """Whether each is a line, so that its answer is to be one too."""


def read_texts(arguments: Sequence[str], path: Path | None, field: str | None) -> Inputs:
    """The texts to work on. `field` names the text in lines that are JSON objects. Raises InputError."""
    if arguments:
        if path is not None or field is not None:
            raise InputError("texts are given both as arguments and with --input or --field; choose one")
        texts = [Input(f"text {number}", text) for number, text in enumerate(arguments, 1)]
        inputs = Inputs(tuple(texts), _digest(json.dumps(list(arguments)).encode()), lines=False)
    else:
        if field is None and path is not None and path.suffix == ".jsonl":
            field = DEFAULT_FIELD
        content = _read(path)
        lines = _lines(content, path)
        if field is not None:
            lines = [line and _string(_object(line, place), field, place) for place, line in _placed(lines)]
        inputs = Inputs(tuple(Input(place, line) for place, line in _placed(lines)), _digest(content), lines=True)
    if all(each.empty for each in inputs.given):
        raise InputError("no text is given, neither as argument nor by --input or standard input")
    return inputs


def read_questions(question: str | None, contexts: Sequence[str], path: Path | None) -> Inputs:
    """One question with its contexts, or the file's as its context; without a question, JSON lines of both."""
    if question is not None:
        if contexts and path is not None:
            raise InputError("contexts are given both with --context and with --input; choose one")
        if not contexts:
            contexts = [_text(_read(path), path)]
        if not question.strip():
            raise InputError("the question is empty")
        given = Input("the question", question, tuple(contexts))
        return Inputs((given,), _digest(json.dumps([question, *contexts]).encode()), lines=False)
    if contexts:
        raise InputError("a context is given, but no question")
    content = _read(path)
    placed = _placed(_lines(content, path))
    asked = [_question(_object(line, place), place) if line else Input(place, "") for place, line in placed]
    if all(each.empty for each in asked):
        raise InputError("no question is given, neither as argument nor as JSON lines of question and context")
    return Inputs(tuple(asked), _digest(content), lines=True)


def _question(entries: dict[str, Any], place: str) -> Input:
    contexts = entries.get("context")
    several = [contexts] if isinstance(contexts, str) else contexts
    if not isinstance(several, list) or not several or not all(isinstance(each, str) for each in several):
        raise InputError(f"{place}: context is expected to be a text, or a list of passages")
    return Input(place, _string(entries, "question", place), tuple(several))


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        entries = json.loads(line)
    except ValueError as error:
        raise InputError(f"{place}: no valid JSON: {error}") from error
    if not isinstance(entries, dict):
        raise InputError(f"{place}: a JSON object is expected")
    return entries


def _string(entries: dict[str, Any], field: str, place: str) -> str:
    value = entries.get(field)
    if not isinstance(value, str):
        fault = "is no text" if field in entries else "is not there"
        raise InputError(f"{place}: the field {field} {fault}; the fields are {', '.join(entries) or 'none'}")
    return value


def _placed(lines: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"line {number}", line) for number, line in enumerate(lines, 1)]


def _lines(content: bytes, path: Path | None) -> list[str]:
    # Only at \n, as other programs count lines; str.splitlines knows ten more ends.
    lines = [line.removesuffix("\r") for line in _text(content, path).split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _text(content: bytes, path: Path | None) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path or 'standard input'}: line {line} is no UTF-8") from error


def _read(path: Path | None) -> bytes:
    if path is None:
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"input = {str(path)!r}: {error.strerror}") from error


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
