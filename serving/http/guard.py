"""What stands before every route: the request's id, its key, the limits, its log line and its span."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quant.card import Task
from serving.http.bodies import Departed, read_body
from serving.http.errors import TEXT_ERROR_PATHS, error_response, plain_error
from serving.http.page import page
from serving.observability.logs import log_request
from serving.observability.requests import (
    HIDDEN_TIMEOUT_HEADER,
    REQUEST_ID_HEADER,
    TIMEOUT_HEADER,
    RequestRecord,
    begin_request,
    read_time_limit,
)
from serving.observability.traces import no_tracing
from serving.service.access import bearer
from serving.service.errors import ErrorCode, ServiceError
from serving.service.gate import Gate, Place
from serving.service.service import Service

HEALTH_PATHS = frozenset({"/healthz", "/livez", "/readyz"})
METRICS_PATHS = frozenset({"/metrics"})
PAGE_PATHS = page.PATHS | {"/openapi.json", "/favicon.ico"}
"""What describes the interface, and the page: both ask for a key only when they send a request."""

KEY_HEADER = "x-api-key"

KeyPlace = Literal["body", "none"]
"""Where clients of a path send their key, when it is in no header; `none` is needed at all."""

UNKNOWN_BYTES = 256 << 10
"""Of a body from whoever has no key in a header, which is looked through for one before any of it is understood."""


class Guard:
    """The application's outermost middleware. `tasks` says which task a path is for, for the metrics."""

    def __init__(
        self, app: ASGIApp, gate: Gate, service: Service, tasks: Mapping[str, Task], keys: Mapping[str, KeyPlace]
    ) -> None:
        """`keys` has the paths whose clients send their key elsewhere than in a header, or none."""
        self._app = app
        self._gate = gate
        self._service = service
        self._tasks = tasks
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        record = begin_request(headers.get(REQUEST_ID_HEADER), "http", "unknown")
        record.text_errors = scope["path"].startswith(TEXT_ERROR_PATHS)
        unwatched = scope["path"] in HEALTH_PATHS | METRICS_PATHS | PAGE_PATHS
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = record.request_id
            await send(message)

        with self._gate.tracing(record, headers) if not unwatched else no_tracing(record, headers):
            try:
                await self._pass(scope, headers, receive, send_with_id, record)
            finally:
                record.call = _route_of(scope)
                record.outcome = record.outcome or _outcome(status)
                log_request(record, logging.DEBUG if unwatched else logging.INFO)

    async def _pass(self, scope: Scope, headers: Headers, receive: Receive, send: Send, record: RequestRecord) -> None:
        try:
            if self._is_open(scope["path"]):
                with self._gate.place("others"):
                    await self._app(scope, receive, send)
                return
            unknown = self._identify(scope["path"], headers, record)
            with self._gate.place() as place:
                body = await self._read(headers, receive, record, place, unknown is not None)
                if unknown == "body":
                    record.key_name = self._gate.access.name_in(scope["query_string"], body)
                await self._app(scope, _given(body, receive), send)
        except Departed:
            record.outcome = "cancelled"
        except ServiceError as error:
            if task := self._tasks.get(scope["path"]):
                self._service.count_refused(task, "http", error.code, record.seconds)
            await error_response(error)(scope, receive, send)
        except HTTPException as error:
            status = HTTPStatus(error.status_code)
            await plain_error(status, status.name.lower(), error.detail)(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        """Whether a path is answered without key and place, so that probes and scrapers get through under load."""
        settings = self._gate.settings
        if path in HEALTH_PATHS:
            return settings.open_health
        return settings.open_metrics if path in METRICS_PATHS else path in PAGE_PATHS

    def _identify(self, path: str, headers: Headers, record: RequestRecord) -> KeyPlace | None:
        """Where the key of a request may be that has none in its headers; None where it is known, or nobody needs one.

        Raises ServiceError (unauthenticated).
        """
        key = bearer(headers.get("authorization")) or headers.get(KEY_HEADER)
        if key is None and self._gate.access.restricted and path in self._keys:
            return self._keys[path]
        record.key_name = self._gate.access.name_of(key)
        return None

    async def _read(self, headers: Headers, receive: Receive, record: RequestRecord, place: Place, unknown: bool) -> bytes:
        """The body; of no more than UNKNOWN_BYTES from someone who is not known yet."""
        record.time_limit = read_time_limit(headers.get(HIDDEN_TIMEOUT_HEADER) or headers.get(TIMEOUT_HEADER))
        seconds = record.seconds_left(self._service.limits.request_timeout_seconds)
        most = self._gate.settings.max_payload_bytes
        try:
            return await read_body(headers, receive, min(most, UNKNOWN_BYTES) if unknown else most, seconds, place.hold)
        except ServiceError as error:
            if not unknown or error.code != ErrorCode.TOO_LONG:
                raise
            message = f"a body of more than {UNKNOWN_BYTES} bytes is read when its key is known: send "
            raise ServiceError(ErrorCode.UNAUTHENTICATED, message + "`Authorization: Bearer KEY`") from None


def _given(body: bytes, receive: Receive) -> Receive:
    """Gives the body to whoever asks; then what else happens, as that the client leaves."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _route_of(scope: Scope) -> str:
    """The path of the route that the request was for; `unknown` where there is none, or where it never came so far."""
    route = scope.get("route")
    if route is None:
        known = {getattr(each, "path", None) for each in scope["app"].routes} if "app" in scope else set()
        return scope["path"] if scope["path"] in known else "unknown"
    return str(route.path)


def _outcome(status: int) -> str:
    if not status:
        return "cancelled"
    return "ok" if status < 400 else HTTPStatus(status).name.lower()
