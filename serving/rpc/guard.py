"""What stands before every call: the request's id, its key, a place, its time limit, its log line and its span. Only then is
its message read.

A decorator of the methods of `Rpc`. A refused call ends as every failed one does: with a status, details and trailers set in
Ray's context, and an empty message.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message
from grpc import StatusCode

from quant.card import Task
from serving.observability.logs import log_request
from serving.observability.requests import REQUEST_ID_HEADER, TIMEOUT_HEADER, RequestRecord, begin_request, read_time_limit
from serving.observability.traces import no_tracing
from serving.rpc.messages import Unread, read_message
from serving.rpc.statuses import GRPC_STATUS
from serving.service.access import bearer
from serving.service.errors import ServiceError
from serving.service.gate import Gate, Places
from serving.service.service import Service

ERROR_CODE_TRAILER = "dqbart-error-code"
RETRY_AFTER_TRAILER = "retry-after"
RAYS_REQUEST_ID = "request_id"
KEY_METADATA = "x-api-key"

M = TypeVar("M", bound=Message)


class CallGuard:
    """One replica's."""

    def __init__(self, gate: Gate, service: Service) -> None:
        self._gate = gate
        self._service = service

    @asynccontextmanager
    async def around(self, call: Call[Any], unread: Unread, context: Any) -> AsyncIterator[Any]:
        """The call's record and message; None where it may go no further, for the reason that the context then has."""
        metadata = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        given = metadata.get(REQUEST_ID_HEADER) or dict(context.trailing_metadata() or ()).get(RAYS_REQUEST_ID)
        record = begin_request(given, "grpc", call.name)
        tracing = no_tracing if call.health else self._gate.tracing
        with tracing(record, metadata), ExitStack() as held:
            try:
                admitted = await self._admitted(call, metadata, unread, record, held)
                if isinstance(admitted, ServiceError):
                    if call.task is not None:
                        self._service.count_refused(call.task, "grpc", admitted.code, record.seconds)
                    fail(context, admitted)
                    name_request(context, record)
                    yield None
                else:
                    yield record, admitted
                record.outcome = record.outcome or _outcome(context)
            finally:
                record.outcome = record.outcome or "cancelled"
                name_request(context, record)
                log_request(record, logging.DEBUG if call.health else logging.INFO)

    async def _admitted(
        self, call: Call[M], metadata: dict[str, str], unread: Unread, record: RequestRecord, held: ExitStack
    ) -> M | ServiceError:
        """The message of a call that has a key, a place and room for it; else why it has not."""
        settings = self._gate.settings
        try:
            if not (call.health and settings.open_health):
                key = bearer(metadata.get("authorization")) or metadata.get(KEY_METADATA)
                record.key_name = self._gate.access.name_of(key)
            if not call.health:
                record.time_limit = read_time_limit(metadata.get(TIMEOUT_HEADER))
            held.enter_context(self._gate.place(call.places)).hold(len(unread.content))
            return await read_message(call.kind, unread, self._service.limits.max_source_characters)
        except ServiceError as error:
            return error


@dataclass(frozen=True)
class Call(Generic[M]):
    """What is guarded."""

    name: str
    kind: type[M]
    """Of its message."""
    task: Task | None = None
    """What refused ones are counted under."""
    places: Places = "requests"

    @property
    def health(self) -> bool:
        return self.places != "requests"


class Guarded(Protocol):
    """What has methods to guard."""

    guard: CallGuard


R = TypeVar("R", bound=Guarded)
A = TypeVar("A")
Unary = Callable[[R, M, Any], Awaitable[A]]
GuardedUnary = Callable[[R, Unread, Any], Awaitable[A]]
Streaming = Callable[[R, M, Any], AsyncGenerator[A]]
GuardedStreaming = Callable[[R, Unread, Any], AsyncGenerator[A]]


def guarded(call: Call[M], empty: Callable[[], A]) -> Callable[[Unary[R, M, A]], GuardedUnary[R, A]]:
    """Guard a method that answers with one message."""

    def decorate(method: Unary[R, M, A]) -> GuardedUnary[R, A]:
        @functools.wraps(method)
        async def answer(self: R, unread: Unread, context: Any) -> A:
            async with self.guard.around(call, unread, context) as admitted:
                return empty() if admitted is None else await method(self, admitted[1], context)

        return answer

    return decorate


def guarded_stream(call: Call[M], empty: Callable[[], A]) -> Callable[[Streaming[R, M, A]], GuardedStreaming[R, A]]:
    """Guard a method that answers with several messages."""

    def decorate(method: Streaming[R, M, A]) -> GuardedStreaming[R, A]:
        @functools.wraps(method)
        async def answer(self: R, unread: Unread, context: Any) -> AsyncGenerator[A]:
            async with self.guard.around(call, unread, context) as admitted:
                if admitted is None:
                    yield empty()
                    return
                record, message = admitted
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
