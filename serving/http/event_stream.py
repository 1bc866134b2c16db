"""Streamed answers as server-sent events: `text` and `result` of each input, at last `done` or `error`.

What is wrong with a request shows before its first event, and so before the response has begun: it is an error as any other.
Data is JSON on one line, in the shapes of the bodies that are not streamed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi.sse import EventSourceResponse, format_sse_event

from serving.service.errors import ServiceError
from serving.service.messages import ErrorDetail, ErrorResponse, Message
from serving.service.results import StreamEnd, StreamEvent, TextDelta

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Nobody on the way is to keep events back."""

EXAMPLE = """\
event: text
data: {"input":0,"text":"Good"}

event: text
data: {"input":0,"text":" morning!"}

event: result
data: {"input":0,"result":{"text":"Good morning!","generated_tokens":5,"finish_reason":"eos","source_tokens":6,\
"timings":{"queue":0.0001,"encode":0.002,"decode":0.004},\
"truncation":{"applied":"none","windows":1,"source_tokens_total":6,"source_tokens_used":6}}}

event: done
data: {"model":"mbart-de-en"}

"""

EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "event": {"enum": ["text", "result", "done", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}

DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The results; with stream = true their texts as they are generated, as server-sent events: text for "
        "what the output of an input is longer by, result at the end of each input, and at last done, or error",
        "content": {"text/event-stream": {"itemSchema": EVENT, "example": EXAMPLE}},
    }
}
"""For the description of a route."""


async def streamed(events: AsyncGenerator[StreamEvent]) -> EventSourceResponse:
    """The response, as soon as there is a first event. Raises ServiceError when there is an error instead."""
    return EventSourceResponse(_body(await anext(events), events), headers=HEADERS)


async def _body(first: StreamEvent, events: AsyncGenerator[StreamEvent]) -> AsyncGenerator[bytes]:
    async with aclosing(events):
        yield _told(first)
        try:
            async for event in events:
                yield _told(event)
            yield _event("done", StreamEnd(model=first.model))
        except ServiceError as error:
            detail = ErrorDetail(code=error.code, message=error.message, field=error.field)
            yield _event("error", ErrorResponse(error=detail))


def _told(event: StreamEvent) -> bytes:
    return _event("text" if isinstance(event, TextDelta) else "result", event)


def _event(name: str, data: Message) -> bytes:
    return format_sse_event(event=name, data_str=data.model_dump_json(exclude_none=True))
