"""Streamed requests over real codecs and the real engine; an engine that fails on purpose where a fault is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.engine.async_engine import AsyncEngine
from serving.engine.errors import EngineFull, GenerationFailed
from serving.engine.request import GeneratedSequence, Request
from serving.engine.request import GenerationParameters as EngineParameters
from serving.engine.request import Result as Generated
from serving.service.errors import ErrorCode, ServiceError
from serving.service.requests import AnswerRequest, GenerationParameters, SummarizeRequest, TaskRequest, TranslateRequest
from serving.service.results import InputResult, StreamEvent, TextDelta
from serving.service.service import Limits, Service
from tests.serving.service.rig import LIMITS, Build

LONG = "good morning world. how are you.\n\nwho wrote the book. she wrote it. "
"""A little more than the 48 tokens that the models read."""
GREEDY = GenerationParameters(num_beams=1, max_new_tokens=40, min_new_tokens=40)
SHORT = EngineParameters(max_new_tokens=5, min_new_tokens=5, decoder_start_token_id=2, eos_token_ids=(2,))


class Scripted:
    """An engine whose streams give these items, then raise the fault, or hang until they are left."""

    alive = True

    def __init__(self, *items: Any, fault: Exception | None = None) -> None:
        self.items = items
        self.fault = fault
        self.left = 0

    async def stream(self, request: Request) -> AsyncGenerator[Any]:
        try:
            for item in self.items:
                yield item
            if self.fault is not None:
                raise self.fault
            await asyncio.Event().wait()
        finally:
            self.left += 1


def events_of(service: Service, request: TaskRequest) -> list[StreamEvent]:
    async def collect() -> list[StreamEvent]:
        return [event async for event in service.stream(request, "grpc")]

    return asyncio.run(collect())


def refused(service: Service, request: TaskRequest) -> ServiceError:
    """What the stream raises instead of a first event."""

    async def first() -> StreamEvent:
        async with aclosing(service.stream(request, "grpc")) as events:
            return await anext(events)

    with pytest.raises(ServiceError) as error:
        asyncio.run(first())
    return error.value


def ends(service: Service) -> dict[str, float]:
    families = text_string_to_metric_families(service.metrics_page().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == "dqbart_requests_total"]
    return {sample.labels["outcome"]: sample.value for sample in samples if sample.value}


@pytest.mark.parametrize(
    "request_",
    [
        SummarizeRequest(text=["good morning", "how are you", "she wrote it"], parameters=GREEDY),
        SummarizeRequest(text=["good morning", "how are you"], parameters=GenerationParameters(num_beams=4)),
        SummarizeRequest(text="good", parameters=GenerationParameters(do_sample=True, seed=3, return_scores=True)),
        SummarizeRequest(text=LONG * 5, truncation="chunk"),
        TranslateRequest(text=[LONG, "how are you"], source_language="en", truncation="chunk"),
        TranslateRequest(text=["\n- good morning 😊\n\n 42\n", " 42 😊"], source_language="en"),
        TranslateRequest(text=" good morning 😊\n", source_language="en", truncation="end"),
        AnswerRequest(question=["who", "how"], context="she wrote it"),
        AnswerRequest(question="who", context=LONG * 2, truncation="chunk"),
    ],
)
def test_texts_put_together_are_the_results_and_those_are_the_unstreamed_ones(build: Build, request_: TaskRequest) -> None:
    service = build()
    response = asyncio.run(service.generate(request_, "http"))
    events = events_of(service, request_)
    assert {event.model for event in events} == {response.model}
    texts, results = ["" for _ in response.results], {}
    for event in events:
        assert event.input not in results
        if isinstance(event, TextDelta):
            texts[event.input] += event.text
        else:
            results[event.input] = event.result
    assert texts == [result.text for result in response.results]
    for place, result in enumerate(response.results):
        assert results[place] == result.model_copy(update={"timings": results[place].timings})


def test_texts_come_before_the_end(build: Build) -> None:
    events = events_of(build(), SummarizeRequest(text="good morning", parameters=GREEDY))
    assert len(events) > 2
    assert [isinstance(event, InputResult) for event in events] == [False] * (len(events) - 1) + [True]


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (SummarizeRequest(text=[]), ErrorCode.EMPTY_TEXT, None),
        (SummarizeRequest(text="a", model="absent"), ErrorCode.UNKNOWN_MODEL, None),
        (SummarizeRequest(text=["a", "a" * 10_001]), ErrorCode.TOO_LONG, None),
        (SummarizeRequest(text=["a", LONG]), ErrorCode.TOO_LONG, None),
        (TranslateRequest(text="a", source_language="fr"), ErrorCode.UNKNOWN_LANGUAGE, None),
        (
            SummarizeRequest(text=["a", "b"], parameters=GenerationParameters(num_beams=3, num_return_sequences=2)),
            ErrorCode.BAD_PARAMETER,
            "input 1 of 2: num_return_sequences = 2: of a streamed input there is one output; leave one of the two out",
        ),
    ],
)
def test_wrong_requests_are_refused_before_the_first_event(
    build: Build, request_: TaskRequest, code: ErrorCode, message: str | None
) -> None:
    service = build(Scripted(fault=AssertionError("the engine was asked")))
    error = refused(service, request_)
    assert error.code == code
    assert message is None or (error.message, error.field) == (message, "parameters.num_return_sequences")
    assert ends(service) == {code: 1}


def test_a_full_queue_refuses_the_whole_request_before_the_first_event(build: Build) -> None:
    class Full(Scripted):
        asked = 0

        async def stream(self, request: Request) -> AsyncGenerator[Any]:
            self.asked += 1
            if self.asked == 3:
                raise EngineFull("full")
            async with aclosing(super().stream(request)) as items:
                async for item in items:
                    yield item

    engine = Full()
    error = refused(build(engine), SummarizeRequest(text=["good", "morning", "world"]))
    assert (error.code, engine.asked, engine.left) == (ErrorCode.OVERLOADED, 3, 2)


def test_a_fault_after_the_first_event_is_raised_and_counted(build: Build) -> None:
    service = build(Scripted((8,), (9,), fault=GenerationFailed("RuntimeError")))
    texts: list[StreamEvent] = []

    async def read() -> None:
        async for event in service.stream(SummarizeRequest(text="good"), "grpc"):
            texts.append(event)

    with pytest.raises(ServiceError) as error:
        asyncio.run(read())
    assert error.value.code == ErrorCode.INTERNAL
    assert ends(service) == {"internal": 1}


def test_a_stream_that_takes_too_long_is_given_up(build: Build) -> None:
    engine = Scripted()
    error = refused(build(engine, Limits(3, 100, 20, 8, request_timeout_seconds=0.01)), SummarizeRequest(text=["a", "b"]))
    assert (error.code, error.message) == (ErrorCode.TIMEOUT, "no answer within the server's limit of 0.01 seconds")
    assert engine.left == 2


def test_leaving_drops_everything_in_the_engine(build: Build, engines: dict[str, AsyncEngine]) -> None:
    service = build(limits=replace(LIMITS, max_windows=60))
    long = GenerationParameters(num_beams=8, max_new_tokens=63, min_new_tokens=63)
    request = TranslateRequest(
        text=[LONG * 10, LONG], source_language="en", truncation="chunk", parameters=long, model="translator"
    )

    async def leave() -> None:
        async with aclosing(service.stream(request, "grpc")) as events:
            assert isinstance(await anext(events), TextDelta)
        # The engine drops what was cancelled by its next step.
        await engines["translator"].generate(Request((5, 6, 2), SHORT))

    asyncio.run(leave())
    stats = engines["translator"].stats()
    assert (stats.queued_requests, stats.running_requests) == (0, 0)
    assert ends(service) == {"cancelled": 1}


def test_a_stream_that_went_well_is_counted_once(build: Build) -> None:
    service = build()
    events_of(service, SummarizeRequest(text=["good", "morning"]))
    assert ends(service) == {"ok": 1}


def test_windows_are_told_in_order_with_what_stands_between_them(build: Build) -> None:
    """The first window of the translation ends last."""

    class Late(Scripted):
        streams = 0

        async def stream(self, request: Request) -> AsyncGenerator[Any]:
            self.streams += 1
            late = self.streams == 1
            ids = request.source_ids[1:-1]
            for token_id in ids:
                for _ in range(20 * late):
                    await asyncio.sleep(0)
                yield (token_id,)
            yield Generated((GeneratedSequence((*ids, 2), "eos"),), 0.0, 0.0, 0.0)

    events = events_of(build(Late()), TranslateRequest(text=LONG, source_language="en", truncation="chunk"))
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    (result,) = [event.result for event in events if isinstance(event, InputResult)]
    assert "".join(texts) == result.text
    assert result.text.count("\n\n") == 1
    # The first window comes in parts, and the others, which waited for its end, with the last of them.
    assert len(texts) > 2
    assert "\n\n" in texts[-1]
