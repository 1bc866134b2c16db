"""JSON that is refused, and JSON that is read as Python's own reader reads it, in steps that leave others their turn."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.strange_files import MOST_DEPTH
from serving.http import strict_json
from serving.http.strict_json import ANY_TEXT, MAX_ENTRIES, MAX_NAMES, TextTooLong, read_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
MOST = 50_000


def refused(body: bytes) -> str:
    with pytest.raises(json.JSONDecodeError) as fault:
        read_json(body, MOST)
    return fault.value.msg


@given(VALUES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_is_read(value: Any, escaped: bool, indent: Any) -> None:
    assert read_json(json.dumps(value, ensure_ascii=escaped, indent=indent).encode(), MOST) == value


PIECES = [
    '"a"',
    '"\\n"',
    '"\\u00e9"',
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "1",
    "-",
    "0",
    ".5",
    "e3",
    "E-2",
    "true",
    "null",
    " ",
    "\n",
]


@given(st.lists(st.sampled_from([*PIECES, '"', "\\", "NaN", "é", "\x01", '"a":']), max_size=8))
def test_what_is_read_is_what_pythons_reader_reads(pieces: list[str]) -> None:
    """And nothing else but what is refused on purpose is refused."""
    body = "".join(pieces).encode()
    try:
        value = read_json(body, MOST)
    except json.JSONDecodeError as fault:
        if not re.search("twice|is no number|many digits", fault.msg):
            with pytest.raises(json.JSONDecodeError):
                json.loads(body)
    else:
        assert repr(value) == repr(json.loads(body))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a": 1, "a": 2}', "an object has the same name twice"),
        (b'{"a": {"b": 1, "b": 1}}', "an object has the same name twice"),
        (b'{"a": NaN}', "NaN is no number"),
        (b"[Infinity]", "Infinity is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"1e999", "a number is too large or has too many digits"),
        (b"1e" + b"0" * 5000, "a number is too large or has too many digits"),
        (b"1" * 5000, "a number has more than 100 digits"),
        (b"-" + b"1" * 100, "a number has more than 100 digits"),
        (b"0." + b"1" * 5000, "a number is too large or has too many digits"),
        (b"01", "a number begins with 0"),
        (b'"\\ud800"', "half a surrogate pair is no text"),
        (b'{"\\uDFFF": 1}', "half a surrogate pair is no text"),
        (b'"\xed\xa0\x80"', "it is not UTF-8"),
        (b'"\xff"', "it is not UTF-8"),
        (b'"a\\u0000b"', "a NUL character"),
        (b'{"\\u0000": 1}', "a NUL character"),
        (b'"\x00"', "Invalid control character"),
        (b'"a\\"', "Unterminated string"),
        (b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1), "more than 32 lists and objects within one another"),
        (b'{"a":' * (MOST_DEPTH + 1) + b"1" + b"}" * (MOST_DEPTH + 1), "more than 32 lists and objects within one another"),
        (b"[" * 200_000, "more than 32 lists and objects within one another"),
        (b'{"a":' * 200_000, "more than 32 lists and objects within one another"),
        (b"", "Expecting value"),
        (b"\xef\xbb\xbf1", "Expecting value"),
        (b'{"a": 1} x', "Extra data"),
        (b"[" + b"[]," * MAX_ENTRIES + b"[]]", "more than 20000 entries of lists and objects"),
        (b"[" + b'{"a": 0, "b": 0},' * 7_000 + b"0]", "more than 20000 entries of lists and objects"),
        (json.dumps({str(place): 0 for place in range(MAX_NAMES + 1)}).encode(), "an object has more than 100 names"),
    ],
)
def test_what_is_no_good_json_is_refused(body: bytes, message: str) -> None:
    assert refused(body) == message


@pytest.mark.parametrize(
    "body",
    [
        rb'"\ud83d\ude00"',
        rb'"\\u0000"',
        rb'"\\ud800"',
        b"[" * MOST_DEPTH + b"]" * MOST_DEPTH,
        b'{"a":' * MOST_DEPTH + b"1" + b"}" * MOST_DEPTH,
        b" " * 200_000 + b"1" + b"\n" * 200_000,
        b"[" + b"0," * (MAX_ENTRIES - 1) + b"0]",
        b"9" * 100,
    ],
)
def test_what_only_looks_like_it_is_read(body: bytes) -> None:
    assert read_json(body, MOST) == json.loads(body)


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(json.JSONDecodeError):
        read_json(body, MOST)


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\U0001f600", '"', "\n"])
@pytest.mark.parametrize("escaped", [True, False])
def test_a_text_of_as_many_characters_as_are_accepted_is_read(letter: str, escaped: bool) -> None:
    text = letter * 2_000
    assert read_json(json.dumps([text], ensure_ascii=escaped).encode(), 2_000) == [text]


@pytest.mark.parametrize("spelt", [b"a", rb"\n", rb"\u00e9", "字".encode()])
@pytest.mark.parametrize("end", [b'"]', b""])
def test_a_longer_text_is_not_read_to_its_end(spelt: bytes, end: bytes) -> None:
    with pytest.raises(TextTooLong):
        read_json(b'["' + spelt * (24_100 // len(spelt)) + end, 2_000)


def test_names_and_choices_may_be_longer_than_texts() -> None:
    name = "a" * ANY_TEXT
    assert read_json(json.dumps({name: name}).encode(), 1) == {name: name}


def test_no_more_than_one_text_is_given_to_pythons_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which reads all that it is given in one step, and lets no other thread in between."""
    given = []
    loads = json.loads
    monkeypatch.setattr(strict_json.json, "loads", lambda text: given.append(text) or loads(text))
    body = b"[" + b",".join([rb'"\n\n"', b'{"a":1}'] * 100) + b"]"
    assert read_json(body, MOST) == loads(body)
    assert set(given) == {r'"\n\n"'}


def test_reading_stops_at_the_first_entry_too_many() -> None:
    reader = strict_json._Reader(b"[" + b"1," * 5_000_000, 100)
    with pytest.raises(ValueError, match="entries"):
        reader.whole()
    assert reader._at < 3 * MAX_ENTRIES
