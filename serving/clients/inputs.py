"""What a command asks about: arguments, or the lines of a file or of standard input, as plain text or as JSON objects.

Inputs are read while they are answered, so that any number of them is. A file is read twice: a fault in its last line is
found before anything is asked, and a changed file is told from one that was asked about before. What cannot be read twice,
as a pipe, is kept in a file of its own where its digest is needed; otherwise a fault is found in its turn.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from shutil import copyfileobj
from typing import IO, Any

DEFAULT_FIELD = "text"
"""Of the objects of a file named *.jsonl."""

KEPT_IN_MEMORY = 1 << 20
"""Bytes of a pipe; more are kept in a file."""


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

    given: Iterable[Input]
    """To be gone through once. Raises InputError for a line of a pipe that is none."""
    lines: bool
    """Whether each is a line, so that its answer is to be one too."""
    count: int | None = None
    """How many they are, where that is known."""
    digest: str | None = None
    """Of everything that was read, where that is known."""
    close: Callable[[], None] = lambda: None
    """Gives back what they are kept in."""


Parse = Callable[[str, str], Input]
"""An input of a line and its place. Raises InputError."""

Source = Callable[[], AbstractContextManager[IO[bytes]]]
"""Opens what is read. Raises InputError."""


def read_texts(arguments: Sequence[str], path: Path | None, field: str | None, whole: bool = True) -> Inputs:
    """The texts to work on. `field` names the text in lines that are JSON objects. Raises InputError.

    With `whole`, count and digest are known, whatever it is read from.
    """
    if arguments:
        if path is not None or field is not None:
            raise InputError("texts are given both as arguments and with --input or --field; choose one")
        return _texts(arguments)
    if field is None and path is not None and path.suffix == ".jsonl":
        field = DEFAULT_FIELD

    def parse(line: str, place: str) -> Input:
        return Input(place, line if field is None or not line else _string(_object(line, place), field, place))

    return _lines(path, parse, whole, "no text is given, neither as argument nor by --input or standard input")


def read_questions(question: str | None, contexts: Sequence[str], path: Path | None, whole: bool = True) -> Inputs:
    """One question with its contexts, or the file's as its context; without a question, JSON lines of both."""
    if question is None:
        if contexts:
            raise InputError("a context is given, but no question")
        nothing = "no question is given, neither as argument nor as JSON lines of question and context"
        return _lines(path, _question, whole, nothing)
    if contexts and path is not None:
        raise InputError("contexts are given both with --context and with --input; choose one")
    if not contexts:
        contexts = [_context(path)]
    if not question.strip():
        raise InputError("the question is empty")
    given = Input("the question", question, tuple(contexts))
    return Inputs((given,), False, 1, _digest(json.dumps([question, *contexts]).encode()))


def _texts(arguments: Sequence[str]) -> Inputs:
    texts = tuple(Input(f"text {number}", text) for number, text in enumerate(arguments, 1))
    if all(each.empty for each in texts):
        raise InputError("no text is given: the arguments are empty")
    return Inputs(texts, False, len(texts), _digest(json.dumps(list(arguments)).encode()))


def _lines(path: Path | None, parse: Parse, whole: bool, nothing: str) -> Inputs:
    source = partial(_opened, path)
    if path is not None and path.is_file():
        return _read_twice(source, path, parse, nothing)
    if not whole:
        return Inputs(_begun(_parsed(source, path, parse), nothing), True)
    with ExitStack() as stack:
        kept = stack.enter_context(tempfile.SpooledTemporaryFile(KEPT_IN_MEMORY))
        with source() as file:
            copyfileobj(file, kept)
        inputs = _read_twice(partial(_rewound, kept), path, parse, nothing)
        return replace(inputs, close=stack.pop_all().close)


def _read_twice(source: Source, path: Path | None, parse: Parse, nothing: str) -> Inputs:
    digest = hashlib.sha256()
    count, texts = 0, False
    for each in _parsed(source, path, parse, digest.update):
        count += 1
        texts = texts or not each.empty
    if not texts:
        raise InputError(nothing)
    return Inputs(_parsed(source, path, parse), True, count, f"sha256:{digest.hexdigest()}")


def _begun(inputs: Iterator[Input], nothing: str) -> Iterator[Input]:
    """The same, read up to the first that is not empty."""
    empty: list[Input] = []
    for each in inputs:
        if not each.empty:
            return chain(empty, [each], inputs)
        empty.append(each)
    raise InputError(nothing)


def _parsed(
    source: Source, path: Path | None, parse: Parse, read: Callable[[bytes], object] = lambda _: None
) -> Iterator[Input]:
    with source() as file:
        # Only at \n, as other programs count lines; str.splitlines knows ten more ends.
        for number, line in enumerate(file, 1):
            read(line)
            place = f"line {number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{path or 'standard input'}: {place} is no UTF-8") from error
            yield parse(text.removesuffix("\n").removesuffix("\r"), place)


def _question(line: str, place: str) -> Input:
    if not line:
        return Input(place, "")
    entries = _object(line, place)
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


def _context(path: Path | None) -> str:
    with _opened(path) as file:
        content = file.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path or 'standard input'}: line {line} is no UTF-8") from error


def _opened(path: Path | None) -> AbstractContextManager[IO[bytes]]:
    if path is None:
        return nullcontext(sys.stdin.buffer)
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"input = {str(path)!r}: {error.strerror}") from error


def _rewound(kept: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    kept.seek(0)
    return nullcontext(kept)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
