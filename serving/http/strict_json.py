"""JSON that means one thing only, read in small steps: no more than a text of it is looked at in one.

Python's own reader takes a whole body in one step, in which nobody else's Python runs: of 20 MB that can be made to last for
seconds, and its limits would come after that. Here they come first, and other threads in between. What is left to Python's
reader is the spelling of a single text.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from quant.strange_files import MOST_DEPTH

MAX_ENTRIES = 20_000
"""Of all lists and objects together. Each takes many times its bytes as an object, and more as a fault."""

MAX_NAMES = 100
"""Of an object; no request needs more than twenty."""

MAX_DIGITS = 100
"""Of a number: Python takes long for numbers of very many digits."""

LONGEST_SPELLING = 12
"""Bytes that a character may take in a text: two escapes of a surrogate pair."""

ANY_TEXT = 4096
"""Bytes that a text may always have: it may be a name, or a choice."""

_SPACE = re.compile(rb"[ \t\n\r]{0,65536}+")
_TEXT = re.compile(rb'"(?:[^"\\\x00-\x1f]++|\\.)*+', re.DOTALL)
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]{0,100}+)((?:\.[0-9]{1,101}+)?(?:[eE][-+]?[0-9]{1,101}+)?)")
_DIGIT = re.compile(rb"[0-9]")
_SPECIAL_ESCAPE = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
"""Spells half of a surrogate pair, or a NUL character."""

_WORDS = {b"true": True, b"false": False, b"null": None}
_NO_NUMBERS = (b"NaN", b"Infinity", b"-Infinity")


class TextTooLong(ValueError):
    """A text has more characters than are accepted, whatever they are."""


def read_json(body: bytes, most_characters: int) -> Any:
    """The value that a body spells. Raises TextTooLong for a text that has certainly more than `most_characters`.

    Raises JSONDecodeError, as for any fault of JSON, also for what Python's reader lets pass: names that occur twice in an
    object, NaN and infinities, numbers that no float holds, halves of surrogate pairs, NUL characters, deep nesting, very
    many entries or names.
    """
    try:
        return _Reader(body, max(LONGEST_SPELLING * most_characters, ANY_TEXT)).whole()
    except (json.JSONDecodeError, TextTooLong):
        raise
    except UnicodeDecodeError:
        fault = "it is not UTF-8"
    except UnicodeEncodeError:
        fault = "half a surrogate pair is no text"
    except ValueError as error:
        fault = str(error)
    raise json.JSONDecodeError(fault, "", 0)


class _Reader:
    """Of one body."""

    def __init__(self, body: bytes, most_bytes: int) -> None:
        """A text may take `most_bytes`, without its quotes."""
        self._body = body
        self._most_bytes = most_bytes
        self._at = 0
        self._entries = 0

    def whole(self) -> Any:
        value = self._value(0)
        if self._next():
            raise ValueError("Extra data")
        return value

    def _next(self) -> bytes:
        """The byte that comes next, white space left out; empty at the end."""
        while True:
            match = _SPACE.match(self._body, self._at)
            assert match is not None, "white space may be none"
            end = match.end()
            stuck = end == self._at
            self._at = end
            following = self._body[end : end + 1]
            if stuck or following not in b" \t\n\r" or not following:
                return following

    def _value(self, depth: int) -> Any:
        match self._next():
            case b'"':
                return self._text()
            case b"{":
                return self._object(depth + 1)
            case b"[":
                return self._list(depth + 1)
            case _:
                return self._number_or_word()

    def _object(self, depth: int) -> dict[str, Any]:
        self._enter(depth)
        found: dict[str, Any] = {}
        if self._next() == b"}":
            self._at += 1
            return found
        while True:
            if self._next() != b'"':
                raise ValueError("Expecting property name enclosed in double quotes")
            name = self._text()
            if name in found:
                raise ValueError("an object has the same name twice")
            if len(found) == MAX_NAMES:
                raise ValueError(f"an object has more than {MAX_NAMES} names")
            if self._next() != b":":
                raise ValueError("Expecting ':' delimiter")
            self._at += 1
            self._count()
            found[name] = self._value(depth)
            if self._ended(b"}"):
                return found

    def _list(self, depth: int) -> list[Any]:
        self._enter(depth)
        found: list[Any] = []
        if self._next() == b"]":
            self._at += 1
            return found
        while True:
            self._count()
            found.append(self._value(depth))
            if self._ended(b"]"):
                return found

    def _enter(self, depth: int) -> None:
        if depth > MOST_DEPTH:
            raise ValueError(f"more than {MOST_DEPTH} lists and objects within one another")
        self._at += 1

    def _count(self) -> None:
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise ValueError(f"more than {MAX_ENTRIES} entries of lists and objects")

    def _ended(self, bracket: bytes) -> bool:
        """Whether a list or an object ends here, or goes on behind a comma."""
        following = self._next()
        if following not in (b",", bracket):
            raise ValueError("Expecting ',' delimiter")
        self._at += 1
        return following == bracket

    def _text(self) -> str:
        body, start = self._body, self._at
        last = start + 1 + self._most_bytes
        match = _TEXT.match(body, start, min(last, len(body)))
        assert match is not None, "a text begins here"
        end = match.end()
        if body[end : end + 1] != b'"':
            # What is cut in the middle of an escape ends before it.
            if last < len(body) and end >= last - 1:
                raise TextTooLong
            raise ValueError("Invalid control character" if body[end : end + 1] else "Unterminated string")
        self._at = end + 1
        spelt = body[start + 1 : end]
        if b"\\" not in spelt:
            return spelt.decode()
        text: str = json.loads(body[start : end + 1].decode())
        if _SPECIAL_ESCAPE.search(spelt):
            text.encode()
            if "\0" in text:
                raise ValueError("a NUL character")
        return text

    def _number_or_word(self) -> Any:
        body, start = self._body, self._at
        if match := _NUMBER.match(body, start):
            self._at = match.end()
            spelt, whole = match[0], not match[1]
            if len(spelt) > MAX_DIGITS or _DIGIT.match(body, self._at):
                if spelt in (b"0", b"-0"):
                    raise ValueError("a number begins with 0")
                long = "has more than {} digits" if whole else "is too large or has too many digits"
                raise ValueError("a number " + long.format(MAX_DIGITS))
            if whole:
                return int(spelt)
            if math.isinf(value := float(spelt)):
                raise ValueError("a number is too large or has too many digits")
            return value
        for word, meant in _WORDS.items():
            if body.startswith(word, start):
                self._at += len(word)
                return meant
        for word in _NO_NUMBERS:
            if body.startswith(word, start):
                raise ValueError(f"{word.decode()} is no number")
        raise ValueError("Expecting value")
