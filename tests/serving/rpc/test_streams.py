"""Streamed calls without Ray, over a service whose streams are scripted; the real ones are in tests/serving/server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc

from protos.dqbart.v1 import seq2seq_pb2 as pb
from serving.observability.metrics import Metrics
from serving.rpc.calls import Rpc
from serving.service.errors import ErrorCode, ServiceError
from serving.service.models import Models
from serving.service.results import InputResult, Result, StreamEvent, TextDelta, Timings, TruncationReport
from serving.service.service import Limits, Service
from tests.serving.rpc.ray_context import Context, unread

RESULT = Result(
    text="ab",
    generated_tokens=3,
    finish_reason="eos",
    source_tokens=5,
    timings=Timings(queue=0.1, encode=0.2, decode=0.3),
    truncation=TruncationReport(applied="none", windows=1, source_tokens_total=5, source_tokens_used=5),
)
EVENTS = [TextDelta(model="m", input=1, text="ab"), InputResult(model="m", input=1, result=RESULT)]


class Scripted(Service):
    """Every stream has these events, then the fault, or none and hangs until it is left."""

    def __init__(self, events: list[Any], fault: Exception | None = None, hangs: bool = False) -> None:
        super().__init__(Models([], {}), Limits(1, 1, 1, 1, 1.0), Metrics())
        self.events = events
        self.fault = fault
        self.hangs = hangs
        self.left = False

    async def stream(self, request: Any, protocol: Any) -> AsyncGenerator[StreamEvent]:
        assert protocol == "grpc"
        try:
            for event in self.events:
                yield event
            if self.hangs:
                await asyncio.Event().wait()
            if self.fault is not None:
                raise self.fault
        finally:
            self.left = True


def ask(service: Service, message: pb.SummarizeRequest | None = None) -> tuple[list[pb.StreamEvent], Context]:
    context = Context()

    async def collect() -> list[pb.StreamEvent]:
        return [
            event
            async for event in Rpc(service).summarize_stream(unread(message or pb.SummarizeRequest(texts=["a"])), context)
        ]

    return asyncio.run(collect()), context


def test_events_are_converted_whole() -> None:
    (text, result), context = ask(Scripted(EVENTS))
    assert text == pb.StreamEvent(model="m", input=1, text="ab")
    assert (result.model, result.input, result.result.text, result.result.source_tokens) == ("m", 1, "ab", 5)
    assert not context.code()


def test_a_fault_ends_the_stream_with_status_details_and_trailers() -> None:
    for events in ([], EVENTS[:1]):
        sent, context = ask(Scripted(events, ServiceError(ErrorCode.OVERLOADED, "too many")))
        assert (context.code(), context.details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")
        trailers = dict(context.trailing_metadata())
        assert (trailers["dqbart-error-code"], trailers["retry-after"]) == ("overloaded", "1")
        # The empty message takes them to the client.
        assert [event.WhichOneof("event") for event in sent] == ["text"] * len(events) + [None]


def test_an_unexpected_fault_shows_nothing_of_the_inside() -> None:
    _, context = ask(Scripted([], RuntimeError("/root/secret")))
    assert context.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in context.details


def test_wrong_fields_are_refused_and_counted() -> None:
    service = Scripted(EVENTS)
    parameters = pb.GenerationParameters(num_beams=0)
    _, context = ask(service, pb.SummarizeRequest(texts=["a"], parameters=parameters))
    assert context.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert context.details == "parameters.num_beams: should be greater than or equal to 1"
    assert b'outcome="bad_parameter",protocol="grpc"' in service.metrics_page()


def test_leaving_the_call_leaves_the_stream() -> None:
    service = Scripted(EVENTS[:1], hangs=True)

    async def leave() -> None:
        async with aclosing(Rpc(service).summarize_stream(unread(pb.SummarizeRequest(texts=["a"])), Context())) as events:
            await anext(events)
        assert service.left

    asyncio.run(leave())
