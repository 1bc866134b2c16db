"""What stands before every route: the request's id, its key, the limits, its log line and its span."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

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
    current_request,
    read_time_limit,
)
from serving.observability.traces import no_tracing
from serving.service.access import bearer
from serving.service.errors import ServiceError
from serving.service.gate import Gate, Place
from serving.service.service import Service

HEALTH_PATHS = frozenset({"/healthz", "/livez", "/readyz"})
METRICS_PATHS = frozenset({"/metrics"})
PAGE_PATHS = page.PATHS | {"/openapi.json", "/favicon.ico"}
"""What describes the interface, and the page: both ask for a key only when they send a request."""

KEY_HEADER = "x-api-key"


class Guard:
    """The application's outermost middleware. `tasks` says which task a path is for, for the metrics."""

    def __init__(
        self, app: ASGIApp, gate: Gate, service: Service, tasks: Mapping[str, Task], keyed_by_route: frozenset[str]
    ) -> None:
        """Routes of `keyed_by_route` take a key from the body too, and where no header has one, ask `check_key`."""
        self._app = app
        self._gate = gate
        self._service = service
        self._tasks = tasks
        self._keyed_by_route = keyed_by_route

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
                await self._app(scope, receive, send)
                return
            self._identify(scope["path"], headers, record)
            with self._gate.place() as place:
                await self._app(scope, await self._bounded(headers, receive, record, place), send)
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

    def _identify(self, path: str, headers: Headers, record: RequestRecord) -> None:
        key = bearer(headers.get("authorization")) or headers.get(KEY_HEADER)
        if key is not None or path not in self._keyed_by_route:
            record.key_name = self._gate.access.name_of(key)

    async def _bounded(self, headers: Headers, receive: Receive, record: RequestRecord, place: Place) -> Receive:
        """Read the body, and give it to whoever asks; then what else happens, as that the client leaves."""
        record.time_limit = read_time_limit(headers.get(HIDDEN_TIMEOUT_HEADER) or headers.get(TIMEOUT_HEADER))
        seconds = record.seconds_left(self._service.limits.request_timeout_seconds)
        body = await read_body(headers, receive, self._gate.settings.max_payload_bytes, seconds, place.hold)
        given = False

        async def receive_again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return receive_again


def check_key(gate: Gate, key: str | None) -> None:
    """Check the key that a body has, unless a header had one. Raises ServiceError (unauthenticated)."""
    record = current_request()
    if record is None or record.key_name is None:
        name = gate.access.name_of(key)
        if record is not None:
            record.key_name = name


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
