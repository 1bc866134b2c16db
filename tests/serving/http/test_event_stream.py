"""Event streams without Ray, over a service whose streams are scripted; the real ones are in tests/serving/server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx

from serving.http.event_stream import streamed
from serving.http.routes import build_app
from serving.observability.metrics import Metrics
from serving.service.errors import ErrorCode, ServiceError
from serving.service.models import Models
from serving.service.results import InputResult, Result, StreamEvent, TextDelta, Timings, TruncationReport
from serving.service.service import Limits, Service

RESULT = Result(
    text="a\nb",
    generated_tokens=3,
    finish_reason="eos",
    source_tokens=5,
    timings=Timings(queue=0.1, encode=0.2, decode=0.3),
    truncation=TruncationReport(applied="none", windows=1, source_tokens_total=5, source_tokens_used=5),
)
EVENTS: list[StreamEvent] = [
    TextDelta(model="m", input=0, text="a\n"),
    TextDelta(model="m", input=0, text="b"),
    InputResult(model="m", input=0, result=RESULT),
]


class Scripted(Service):
    """Every stream has these events, and a fault at its end if there is one."""

    def __init__(self, events: list[Any], fault: Exception | None = None) -> None:
        super().__init__(Models([], {}), Limits(1, 1, 1, 1, 1.0), Metrics())
        self.events = events
        self.fault = fault

    async def stream(self, request: Any, protocol: Any) -> AsyncGenerator[StreamEvent]:
        assert protocol == "http"
        for event in self.events:
            yield event
        if self.fault is not None:
            raise self.fault


def ask(service: Service) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(build_app(service), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/v1/summarize", json={"text": "a", "stream": True})

    return asyncio.run(send())


def test_events_have_their_names_and_data_on_one_line() -> None:
    response = ask(Scripted(EVENTS))
    result = {
        "text": "a\nb",
        "generated_tokens": 3,
        "finish_reason": "eos",
        "source_tokens": 5,
        "timings": {"queue": 0.1, "encode": 0.2, "decode": 0.3},
        "unknown_tokens": 0,
        "truncation": {"applied": "none", "windows": 1, "source_tokens_total": 5, "source_tokens_used": 5},
    }
    first, second, third, done, rest = response.text.split("\n\n")
    assert first == 'event: text\ndata: {"input":0,"text":"a\\n"}'
    assert second == 'event: text\ndata: {"input":0,"text":"b"}'
    assert third.startswith("event: result\ndata: ")
    assert json.loads(third.removeprefix("event: result\ndata: ")) == {"input": 0, "result": result}
    assert (done, rest) == ('event: done\ndata: {"model":"m"}', "")


def test_a_fault_before_the_first_event_is_an_error_as_any_other() -> None:
    response = ask(Scripted([], ServiceError(ErrorCode.OVERLOADED, "too many")))
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert response.json() == {"error": {"code": "overloaded", "message": "too many"}}


def test_a_fault_after_it_is_the_last_event() -> None:
    response = ask(Scripted(EVENTS[:1], ServiceError(ErrorCode.TIMEOUT, "too late", "text")))
    assert response.status_code == 200
    *_, last, rest = response.text.split("\n\n")
    assert (last, rest) == (
        'event: error\ndata: {"error":{"code":"timeout","message":"too late","field":"text"}}',
        "",
    )


def test_leaving_the_response_leaves_the_stream() -> None:
    left = False

    async def events() -> AsyncGenerator[StreamEvent]:
        nonlocal left
        try:
            yield EVENTS[0]
            await asyncio.Event().wait()
        finally:
            left = True

    async def leave() -> None:
        response = await streamed(events())
        body: Any = response.body_iterator
        async with aclosing(body):
            await anext(body)
        assert left

    asyncio.run(leave())
