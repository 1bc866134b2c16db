"""Bodies that mean nothing, several things, or far too much."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from serving.http.bodies import MAX_DEPTH, Departed, read_body, read_json
from serving.service.errors import ErrorCode, ServiceError

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_json_is_read(value: Any, escaped: bool) -> None:
    assert read_json(json.dumps(value, ensure_ascii=escaped).encode()) == value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a": 1, "a": 2}', "an object has the same name twice"),
        (b'{"a": {"b": 1, "b": 1}}', "an object has the same name twice"),
        (b'{"a": NaN}', "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"1e999", "a number is too large or has too many digits"),
        (b"1" * 5000, "a number has more than 100 digits"),
        (b"0." + b"1" * 5000, "a number is too large or has too many digits"),
        (b'"\\ud800"', "half a surrogate pair is no text"),
        (b'{"\\uDFFF": 1}', "half a surrogate pair is no text"),
        (b'"\xed\xa0\x80"', "it is not UTF-8"),
        (b'"\xff"', "it is not UTF-8"),
        (b'"a\\u0000b"', "a NUL character"),
        (b'{"\\u0000": 1}', "a NUL character"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "more than 32 lists and objects within one another"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "more than 32 lists and objects within one another"),
        (b"[" * 200_000, "more than 32 lists and objects within one another"),
        (b'{"a":' * 200_000, "more than 32 lists and objects within one another"),
        (b"", "Expecting value"),
        (b'{"a": 1} x', "Extra data"),
    ],
)
def test_what_is_no_good_json_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(json.JSONDecodeError) as refused:
        read_json(body)
    assert refused.value.msg == message


@pytest.mark.parametrize(
    "body",
    [
        rb'"\ud83d\ude00"',
        rb'"\\u0000"',
        rb'"\\ud800"',
        b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
        b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH,
    ],
)
def test_what_only_looks_like_it_is_read(body: bytes) -> None:
    assert read_json(body) == json.loads(body)


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(json.JSONDecodeError):
        read_json(body)


def read(
    parts: Iterable[dict[str, Any]],
    most: int = 10,
    seconds: float = 60,
    hold: Callable[[int], None] = lambda count: None,
    **headers: str,
) -> bytes:
    coming = iter(parts)

    async def receive() -> dict[str, Any]:
        return next(coming, None) or await asyncio.Event().wait()  # type: ignore[return-value]

    named = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return asyncio.run(read_body(named, receive, most, seconds, hold))


def chunk(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_is_read_whole() -> None:
    assert read([chunk(b"12345"), chunk(b""), chunk(b"67890", more=False)], content_length="10") == b"1234567890"


@pytest.mark.parametrize("length", ["11", "9" * 30])
def test_a_body_that_says_it_is_too_large_is_not_read(length: str) -> None:
    with pytest.raises(ServiceError, match="the body is larger than 10 bytes") as refused:
        read([], content_length=length)
    assert refused.value.code == ErrorCode.TOO_LONG


def test_a_body_that_turns_out_too_large_is_read_no_further() -> None:
    with pytest.raises(ServiceError, match="the body is larger than 10 bytes"):
        read([chunk(b"123456"), chunk(b"123456")])


def test_bytes_are_counted_as_they_come_and_not_as_they_are_declared() -> None:
    counted: list[int] = []

    def hold(count: int) -> None:
        counted.append(count)
        if sum(counted) > 5:
            raise ServiceError(ErrorCode.OVERLOADED, "too many")

    with pytest.raises(ServiceError, match="too many"):
        read([chunk(b"123"), chunk(b"456"), chunk(b"789", more=False)], hold=hold, content_length="9")
    assert counted == [3, 3]


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with pytest.raises(ServiceError) as refused:
        read([chunk(b"1")], seconds=0)
    assert refused.value.code == ErrorCode.TIMEOUT


def test_a_client_that_leaves_is_noticed() -> None:
    with pytest.raises(Departed):
        read([chunk(b"1"), {"type": "http.disconnect"}])


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"content_encoding": "gzip"}, 415), ({"content_length": "x"}, 400), ({"content_length": "-1"}, 400)],
)
def test_headers_that_make_no_sense_here(headers: dict[str, str], status: int) -> None:
    with pytest.raises(HTTPException) as refused:
        read([], **headers)
    assert refused.value.status_code == status


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"text": [' + b"[]," * 1_000_000 + b"[]]}", "more than 1000000 opening brackets"),
        (b"[" + b"0," * 20_000 + b"0]", "more than 20000 entries of lists and objects"),
        (b"[" + b'{"a": 0, "b": 0},' * 7_000 + b"0]", "more than 20000 entries of lists and objects"),
    ],
)
def test_a_body_of_very_many_entries_is_refused_in_one_line(body: bytes, fault: str) -> None:
    """Of a body of 20 MB with an empty list every three bytes, validation made 8 GB of faults."""
    with pytest.raises(json.JSONDecodeError, match=fault):
        read_json(body)
