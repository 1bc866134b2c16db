"""What stands before every call: the request's id, its key, a place, its time limit, its log line and its span.

A decorator of the methods of `Rpc`. A refused call ends as every failed one does: with a status, details and trailers set in
Ray's context, and an empty message.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from typing import Any, Protocol, TypeVar

from grpc import StatusCode

from quant.card import Task
from serving.observability.logs import log_request
from serving.observability.requests import REQUEST_ID_HEADER, TIMEOUT_HEADER, RequestRecord, begin_request, read_time_limit
from serving.observability.traces import no_tracing
from serving.rpc.servicers import Unreadable
from serving.rpc.statuses import GRPC_STATUS
from serving.service.access import bearer
from serving.service.errors import ErrorCode, ServiceError
from serving.service.gate import Gate
from serving.service.service import Service

ERROR_CODE_TRAILER = "dqbart-error-code"
RETRY_AFTER_TRAILER = "retry-after"
RAYS_REQUEST_ID = "request_id"
KEY_METADATA = "x-api-key"
HEALTH_CALLS = "grpc.health."

M = TypeVar("M")


class CallGuard:
    """One replica's."""

    def __init__(self, gate: Gate, service: Service) -> None:
        self._gate = gate
        self._service = service

    @contextmanager
    def around(self, call: str, task: Task | None, message: Any, context: Any) -> Iterator[RequestRecord | None]:
        """The call's record; None where it may go no further, for the reason that the context then has."""
        metadata = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        given = metadata.get(REQUEST_ID_HEADER) or dict(context.trailing_metadata() or ()).get(RAYS_REQUEST_ID)
        record = begin_request(given, "grpc", call)
        health = call.startswith(HEALTH_CALLS)
        tracing = no_tracing if health else self._gate.tracing
        with tracing(record, metadata), ExitStack() as held:
            try:
                if self._admitted(task, health, metadata, message, record, held, context):
                    yield record
                else:
                    yield None
                record.outcome = record.outcome or _outcome(context)
            finally:
                record.outcome = record.outcome or "cancelled"
                name_request(context, record)
                log_request(record, logging.DEBUG if health else logging.INFO)

    def _admitted(
        self,
        task: Task | None,
        health: bool,
        metadata: dict[str, str],
        message: Any,
        record: RequestRecord,
        held: ExitStack,
        context: Any,
    ) -> bool:
        settings = self._gate.settings
        try:
            if not (health and settings.open_health):
                key = bearer(metadata.get("authorization")) or metadata.get(KEY_METADATA)
                record.key_name = self._gate.access.name_of(key)
            if isinstance(message, Unreadable):
                raise ServiceError(ErrorCode.BAD_PARAMETER, "the message cannot be read: it is not what the .proto says")
            if not health:
                record.time_limit = read_time_limit(metadata.get(TIMEOUT_HEADER))
                held.enter_context(self._gate.place()).hold(message.ByteSize())
        except ServiceError as error:
            if task is not None:
                self._service.count_refused(task, "grpc", error.code, record.seconds)
            fail(context, error)
            name_request(context, record)
            return False
        return True


class Guarded(Protocol):
    """What has methods to guard."""

    guard: CallGuard


R = TypeVar("R", bound=Guarded)
Unary = Callable[[R, Any, Any], Awaitable[M]]
Streaming = Callable[[R, Any, Any], AsyncGenerator[M]]


def guarded(call: str, empty: Callable[[], M], task: Task | None = None) -> Callable[[Unary[R, M]], Unary[R, M]]:
    """Guard a method that answers with one message; `task` is what refused requests are counted under."""

    def decorate(method: Unary[R, M]) -> Unary[R, M]:
        @functools.wraps(method)
        async def answer(self: R, message: Any, context: Any) -> M:
            with self.guard.around(call, task, message, context) as record:
                return empty() if record is None else await method(self, message, context)

        return answer

    return decorate


def guarded_stream(
    call: str, empty: Callable[[], M], task: Task | None = None
) -> Callable[[Streaming[R, M]], Streaming[R, M]]:
    """Guard a method that answers with several messages."""

    def decorate(method: Streaming[R, M]) -> Streaming[R, M]:
        @functools.wraps(method)
        async def answer(self: R, message: Any, context: Any) -> AsyncGenerator[M]:
            with self.guard.around(call, task, message, context) as record:
                if record is None:
                    yield empty()
                    return
                async with aclosing(method(self, message, context)) as items:
                    async for item in items:
                        # Ray's own proxy takes trailers over with a message only.
                        name_request(context, record)
                        yield item

        return answer

    return decorate


def fail(context: Any, error: ServiceError) -> None:
    """Have the call end with the error's status, message and trailers."""
    context.set_code(GRPC_STATUS[error.code])
    context.set_details(error.message)
    trailers = [(ERROR_CODE_TRAILER, str(error.code))]
    if error.retry_after is not None:
        trailers.append((RETRY_AFTER_TRAILER, str(error.retry_after)))
    context.set_trailing_metadata(trailers)


def name_request(context: Any, record: RequestRecord) -> None:
    """Have the trailers name the request; Ray adds the id that it knows the request by itself, under another name."""
    others = [
        (name, value)
        for name, value in context.trailing_metadata() or ()
        if name not in (REQUEST_ID_HEADER, RAYS_REQUEST_ID)
    ]
    context.set_trailing_metadata([*others, (REQUEST_ID_HEADER, record.request_id)])


def _outcome(context: Any) -> str:
    if context.code() in (None, 0, StatusCode.OK):
        return "ok"
    return dict(context.trailing_metadata() or ()).get(ERROR_CODE_TRAILER) or str(context.code().name).lower()
