"""Bodies that mean nothing, several things, or far too much."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers

from serving.http import bodies
from serving.http.bodies import ON_LOOP_BYTES, Departed, form_value, json_value, read_body
from serving.service.errors import ErrorCode, ServiceError
from serving.service.service import describe_faults


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


@pytest.mark.parametrize("size", [10, 10 * ON_LOOP_BYTES])
def test_json_is_read_and_faults_are_the_requests(size: int) -> None:
    spaces = b" " * size
    assert asyncio.run(json_value(b"[1" + spaces + b"]", 10)) == [1]
    with pytest.raises(RequestValidationError) as refused:
        asyncio.run(json_value(b"[1" + spaces, 10))
    assert describe_faults(refused.value.errors()).message == "the body is no valid JSON: Expecting ',' delimiter"
    with pytest.raises(ServiceError, match="a text has more than the 10 characters that are accepted") as too_long:
        asyncio.run(json_value(spaces + b'["' + b"a" * 5000 + b'"]', 10))
    assert too_long.value.code == ErrorCode.TOO_LONG


def test_large_bodies_are_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    monkeypatch.setattr(bodies, "read_json", lambda body, most: threads.append(threading.current_thread()))
    for size in (ON_LOOP_BYTES, ON_LOOP_BYTES + 1):
        asyncio.run(json_value(b" " * size, 10))
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


def test_forms_are_read_and_faults_are_the_requests() -> None:
    assert asyncio.run(form_value(b"q=a+b&q=%41", 3, 10)) == {"q": ["a b", "A"]}
    with pytest.raises(RequestValidationError) as refused:
        asyncio.run(form_value(b"q=a&q=a&q=a&q=a", 3, 10))
    assert describe_faults(refused.value.errors()).message == "a form of UTF-8 texts with 3 fields at most is expected"
    with pytest.raises(ServiceError, match="a text has more than the 10 characters") as too_long:
        asyncio.run(form_value(b"q=" + b"a" * 5000, 3, 10))
    assert too_long.value.code == ErrorCode.TOO_LONG
