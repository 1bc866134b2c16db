"""Bodies: read whole within limits of size and time, and as JSON that means one thing only."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import Receive

from quant.strange_files import depth_above, no_constant, without_repetition
from serving.service.errors import ErrorCode, ServiceError

MAX_DEPTH = 32
"""Lists and objects within one another; no request needs more than four."""

MAX_ENTRIES = 20_000
"""Of all lists and objects together. Each that is wrong costs a kilobyte to describe: a body full of them took gigabytes."""

MAX_BRACKETS = 1_000_000
"""In the whole body, texts included: an empty list takes 20 times the memory of its two bytes."""

MAX_DIGITS = 100
"""Of a number: Python takes long for numbers of very many digits."""

SPECIAL_ESCAPE = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
"""Spells half of a surrogate pair, or a NUL character."""


class Departed(Exception):
    """The client left before its request had arrived."""


async def read_body(headers: Headers, receive: Receive, most: int, seconds: float, hold: Callable[[int], None]) -> bytes:
    """The whole body. Raises ServiceError (too_long, timeout), HTTPException (415, 400), Departed, and what `hold` raises.

    What declares itself too large is refused unread, and what does not is read no further than `most` bytes. Bytes are
    counted by `hold` as they come: who only declares many takes no room from others.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body is compressed (Content-Encoding): send it as it is")
    too_large = ServiceError(ErrorCode.TOO_LONG, f"the body is larger than {most} bytes: split it")
    declared = headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the Content-Length is no number")
    if int(declared[:20]) > most:
        raise too_large
    parts: list[bytes] = []
    received, more = 0, True
    try:
        async with asyncio.timeout(seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Departed
                part = message.get("body", b"")
                received += len(part)
                if received > most:
                    raise too_large
                hold(len(part))
                parts.append(part)
                more = message.get("more_body", False)
    except TimeoutError:
        raise ServiceError(ErrorCode.TIMEOUT, "the body did not arrive within the time limit of the request") from None
    return b"".join(parts)


class StrictJsonRoute(APIRoute):
    """A route that reads its body with `read_json`, and refuses any that is not called JSON (415).

    A page of another site can have a browser send a body without such a name, and would not be asked for leave.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly


class _StrictRequest(Request):
    async def body(self) -> bytes:
        body = await super().body()
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if body and not re.fullmatch(r"application/(json|[^/]*\+json)", kind):
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a body with Content-Type: application/json is expected")
        return body

    async def json(self) -> Any:
        return read_json(await self.body())


def read_json(body: bytes) -> Any:
    """The value that a body spells.

    Raises JSONDecodeError, as for any fault of JSON, also for what Python's reader lets pass: names that occur twice in an
    object, NaN and infinities, numbers that no float holds, halves of surrogate pairs, NUL characters, deep
    nesting, very many entries.
    """
    try:
        if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
            raise ValueError(f"more than {MAX_BRACKETS} opening brackets")
        text = body.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=without_repetition,
            parse_constant=no_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
        if depth_above(value, MAX_DEPTH):
            raise ValueError(f"more than {MAX_DEPTH} lists and objects within one another")
        if _entries(value) > MAX_ENTRIES:
            raise ValueError(f"more than {MAX_ENTRIES} entries of lists and objects")
        if SPECIAL_ESCAPE.search(text):
            spelt = json.dumps(value, ensure_ascii=False)
            spelt.encode()
            if r"\u0000" in spelt and _has_nul(value):
                raise ValueError("a NUL character")
        return value
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError:
        fault = "it is not UTF-8"
    except UnicodeEncodeError:
        fault = "half a surrogate pair is no text"
    except RecursionError:
        fault = f"more than {MAX_DEPTH} lists and objects within one another"
    except ValueError as error:
        fault = str(error)
    raise json.JSONDecodeError(fault, "", 0)


def _integer(spelt: str) -> int:
    if len(spelt) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(spelt)


def _finite(spelt: str) -> float:
    if len(spelt) > MAX_DIGITS or math.isinf(value := float(spelt)):
        raise ValueError("a number is too large or has too many digits")
    return value


def _entries(value: Any) -> int:
    """Of all lists and objects; no deeper than MAX_DEPTH."""
    if not isinstance(value, list | dict):
        return 0
    return len(value) + sum(map(_entries, value.values() if isinstance(value, dict) else value))


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in name or _has_nul(inner) for name, inner in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))
