"""Bodies: read whole within limits of size and time, and as JSON that means one thing only."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import Receive

from serving.http.forms import read_form
from serving.http.multipart import read_multipart
from serving.http.strict_json import TextTooLong, read_json
from serving.service.errors import ErrorCode, ServiceError
from serving.service.off_loop import off_loop

ON_LOOP_BYTES = 2048
"""What is read within a millisecond; handing it to a thread would take as long."""


class Departed(Exception):
    """The client left before its request had arrived."""


async def read_body(headers: Headers, receive: Receive, most: int, seconds: float, hold: Callable[[int], None]) -> bytes:
    """The whole body. Raises ServiceError (too_long, timeout), HTTPException (415, 400), Departed, and what `hold` raises.

    What declares itself too large is refused unread, and what does not is read no further than `most` bytes. Bytes are
    counted by `hold` as they come: who only declares many takes no room from others.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
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


async def json_value(body: bytes, most_characters: int) -> Any:
    """What a body spells, for a service that takes texts of so many characters.

    Raises RequestValidationError for what is no good JSON, ServiceError (too_long).
    """
    try:
        if len(body) <= ON_LOOP_BYTES:
            return read_json(body, most_characters)
        return await off_loop(lambda: read_json(body, most_characters))
    except TextTooLong:
        raise text_too_long(most_characters) from None
    except json.JSONDecodeError as fault:
        raise RequestValidationError([{"type": "json_invalid", "loc": ("body",), "ctx": {"error": fault.msg}}]) from None


async def form_value(body: bytes, most_fields: int, most_characters: int) -> Mapping[str, str | list[str]]:
    """The fields of a form-encoded body, or of a query. Raises RequestValidationError, ServiceError (too_long)."""
    return await _form(read_form(body, most_fields, most_characters), most_fields, most_characters)


async def multipart_value(
    body: bytes, content_type: str, most_fields: int, most_characters: int
) -> Mapping[str, str | list[str]]:
    """The fields of a form in parts. Raises RequestValidationError, ServiceError (too_long)."""
    return await _form(read_multipart(body, content_type, most_fields, most_characters), most_fields, most_characters)


async def _form(
    reading: Awaitable[Mapping[str, str | list[str]]], most_fields: int, most_characters: int
) -> Mapping[str, str | list[str]]:
    try:
        return await reading
    except TextTooLong:
        raise text_too_long(most_characters) from None
    except ValueError:
        message = f"a form of UTF-8 texts with {most_fields} fields at most is expected"
        raise RequestValidationError([{"type": "form_invalid", "loc": (), "msg": message}]) from None


def text_too_long(most_characters: int) -> ServiceError:
    """Of a text that was not read to its end."""
    message = f"a text has more than the {most_characters} characters that are accepted: split it"
    return ServiceError(ErrorCode.TOO_LONG, message)


def strict_json_route(most_characters: int) -> type[APIRoute]:
    """The class of routes that read their bodies with `json_value`, and refuse any that is not called JSON (415).

    A page of another site can have a browser send a body without such a name, and would not be asked for leave.
    """

    class StrictJsonRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()
            if self.body_field is None:
                return handle

            async def handle_strictly(request: Request) -> Response:
                strict = _StrictRequest(request.scope, request.receive)
                await strict.read(most_characters)
                return await handle(strict)

            return handle_strictly

    return StrictJsonRoute


class _StrictRequest(Request):
    async def read(self, most_characters: int) -> None:
        """Read the body, before FastAPI does, which would make a fault of the client's of whatever is raised here."""
        body = await self.body()
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if body and not re.fullmatch(r"application/(json|[^/]*\+json)", kind):
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a body with Content-Type: application/json is expected")
        self._value = await json_value(body, most_characters) if body else None

    async def json(self) -> Any:
        return self._value
