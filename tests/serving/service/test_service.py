"""The service over real codecs and the real engine; an engine that fails on purpose stands in where a fault is wanted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.engine.async_engine import AsyncEngine
from serving.engine.engine import load_engine
from serving.engine.errors import EngineClosed, EngineFull, GenerationFailed, InvalidRequest, SourceTooLong
from serving.engine.request import Request, Result
from serving.engine.settings import EngineSettings
from serving.observability.metrics import Metrics
from serving.service.errors import ErrorCode, ServiceError
from serving.service.messages import AnswerRequest, GenerationParameters, SummarizeRequest, TaskRequest, TranslateRequest
from serving.service.models import Generator, Models, ServedModel, check_model, default_models
from serving.service.service import OFF_LOOP_CHARACTERS, Limits, Service, describe_faults

LIMITS = Limits(max_inputs=3, max_source_characters=10_000, max_windows=20, max_rows=8, request_timeout_seconds=30)


SENTENCES = ["good morning world.", "how are you.", "who wrote the book.", "she wrote it."]
LONG = " ".join(SENTENCES) + " "
"""A little more than the 48 tokens that the models read."""


class Failing:
    """An engine whose every request ends in `fault`, or hangs until cancelled when there is none."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.cancelled = 0
        self.alive = True

    async def generate(self, request: Request) -> Result:
        if self.fault is not None:
            raise self.fault
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        raise AssertionError("unreachable")


@pytest.fixture(scope="module")
def engines(artifacts: dict[str, Path]) -> Iterator[dict[str, AsyncEngine]]:
    engines = {name: AsyncEngine(load_engine(folder, EngineSettings())) for name, folder in artifacts.items()}
    yield engines
    for engine in engines.values():
        engine.close()


Build = Callable[..., Service]


@pytest.fixture
def build(artifacts: dict[str, Path], engines: dict[str, AsyncEngine]) -> Build:
    def build(engine: Generator | None = None, limits: Limits = LIMITS) -> Service:
        checked = [check_model(name, folder, 8) for name, folder in artifacts.items()]
        served = [ServedModel(model, model.codec(), engine or engines[model.name]) for model in checked]
        return Service(Models(served, default_models(checked, {})), limits, Metrics())

    return build


def ask(service: Service, request: TaskRequest) -> Any:
    return asyncio.run(service.generate(request, "http"))


def refused(service: Service, request: TaskRequest) -> ServiceError:
    with pytest.raises(ServiceError) as error:
        ask(service, request)
    return error.value


def counted(service: Service, name: str) -> dict[tuple[str, ...], float]:
    """Values of one metric by its labels: task, model, protocol, outcome, as far as it has them."""
    families = text_string_to_metric_families(service.metrics_page().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    order = ("task", "model", "protocol", "outcome")
    return {tuple(each.labels[label] for label in order if label in each.labels): each.value for each in samples}


def test_one_result_an_input_in_their_order(build: Build) -> None:
    service = build()
    response = ask(service, SummarizeRequest(text=["good morning", "how are you"]))
    alone = [ask(service, SummarizeRequest(text=text)).results[0].text for text in ("good morning", "how are you")]
    assert response.model == "summarizer"
    assert [result.text for result in response.results] == alone
    assert response.results[0].text != response.results[1].text


def test_translation_is_steered_by_its_languages(build: Build) -> None:
    service = build()
    one = ask(service, TranslateRequest(text="guten morgen", source_language="de"))
    other = ask(service, TranslateRequest(text="guten morgen", source_language="en"))
    assert one.results[0].source_tokens == other.results[0].source_tokens
    assert one.results[0].text != other.results[0].text


def test_one_context_serves_every_question(build: Build) -> None:
    service = build()
    shared = ask(service, AnswerRequest(question=["who", "how"], context="she wrote it"))
    listed = ask(service, AnswerRequest(question=["who", "how"], context=["she wrote it"] * 2))
    assert [result.text for result in shared.results] == [result.text for result in listed.results]


def test_a_context_may_be_passages(build: Build) -> None:
    """Of one question they are a list of texts, of several a list for each; the artifact's card has " ; " between them."""
    service = build()
    ranked = ["she wrote it", "how are you"]
    joined = ask(service, AnswerRequest(question="who", context="she wrote it ; how are you")).results[0]
    assert ask(service, AnswerRequest(question="who", context=ranked)).results[0].text == joined.text
    mixed = ask(service, AnswerRequest(question=["who", "how", "who"], context=["she wrote it", ranked, ranked]))
    assert [result.source_tokens for result in mixed.results][2] == joined.source_tokens
    assert mixed.results[2].text == joined.text


def test_the_languages_of_the_default_translator(build: Build) -> None:
    assert build().language_pairs() == (("de_DE", "en_XX"), ("en_XX", "de_DE"))


def test_a_seed_repeats_an_answer(build: Build) -> None:
    service = build()
    sampling = {"do_sample": True, "temperature": 5.0, "top_k": 0, "max_new_tokens": 20}
    drawn = ask(service, SummarizeRequest(text="good morning", parameters=GenerationParameters(**sampling))).results[0]
    parameters = GenerationParameters(**sampling, seed=drawn.seed)
    again = ask(service, SummarizeRequest(text=["good morning", "how are you"], parameters=parameters)).results[0]
    assert (again.text, again.seed) == (drawn.text, drawn.seed)
    others = [
        ask(service, SummarizeRequest(text="good morning", parameters=GenerationParameters(**sampling, seed=seed)))
        for seed in range(3)
    ]
    assert len({other.results[0].text for other in others}) == 3


def test_sequences_and_scores_come_from_the_engine(build: Build) -> None:
    parameters = GenerationParameters(num_beams=3, num_return_sequences=2, return_scores=True)
    (result,) = ask(build(), SummarizeRequest(text="good morning", parameters=parameters)).results
    assert (len(result.sequences), result.sequences[0].text) == (2, result.text)
    assert result.sequences[0].score == result.score > result.sequences[1].score
    assert sum(token.log_probability for token in result.tokens) / result.generated_tokens == pytest.approx(result.score)


def test_an_input_in_windows_is_its_sentences_one_by_one(build: Build) -> None:
    service = build()
    alone = [ask(service, TranslateRequest(text=sentence, source_language="en")).results[0] for sentence in SENTENCES]
    chunked = ask(service, TranslateRequest(text=LONG, source_language="en", truncation="chunk")).results[0]
    assert chunked.text == " ".join(result.text for result in alone)
    assert chunked.source_tokens == sum(result.source_tokens for result in alone)
    assert (chunked.truncation.applied, chunked.truncation.windows) == ("chunk", 4)


def test_long_summaries_come_to_their_end(build: Build) -> None:
    result = ask(build(), SummarizeRequest(text=LONG * 5, truncation="chunk")).results[0]
    assert result.truncation.windows > 5
    assert result.text


def test_a_context_in_windows_is_answered_from_the_best(build: Build) -> None:
    request = AnswerRequest(question="who", context=LONG * 2, truncation="chunk")
    report = ask(build(), request).results[0].truncation
    assert report.windows > 1
    assert 1 <= report.answer_window <= report.windows


def test_a_full_queue_refuses_the_whole_request(build: Build) -> None:
    class Full(Failing):
        asked = 0

        async def generate(self, request: Request) -> Result:
            self.asked += 1
            if self.asked == 3:
                raise EngineFull("full")
            return await super().generate(request)

    engine = Full()
    error = refused(build(engine), SummarizeRequest(text=["good morning", LONG], truncation="chunk"))
    assert (error.code, engine.asked, engine.cancelled) == (ErrorCode.OVERLOADED, 3, 2)


def test_long_texts_are_encoded_off_the_loop_with_the_same_refusals(build: Build) -> None:
    error = refused(build(), SummarizeRequest(text=["fine", "a" * (OFF_LOOP_CHARACTERS + 1)]))
    assert (error.code, error.message.partition(" has ")[0]) == (ErrorCode.TOO_LONG, "input 2 of 2: the input")


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (SummarizeRequest(text=[]), ErrorCode.EMPTY_TEXT, "no text is given"),
        (SummarizeRequest(text=" \n"), ErrorCode.EMPTY_TEXT, "the source is empty"),
        (SummarizeRequest(text=["a", ""]), ErrorCode.EMPTY_TEXT, "input 2 of 2: the source is empty"),
        (AnswerRequest(question="a", context=""), ErrorCode.EMPTY_TEXT, "the context is empty"),
        (AnswerRequest(question="a", context=[]), ErrorCode.EMPTY_TEXT, "the context is empty"),
        (AnswerRequest(question="a", context=["b", " "]), ErrorCode.EMPTY_TEXT, "passage 2 of the context is empty"),
        (
            AnswerRequest(question=["a", "b"], context=["c", ["d", ""]]),
            ErrorCode.EMPTY_TEXT,
            "input 2 of 2: passage 2 of the context is empty",
        ),
        (
            AnswerRequest(question="a", context=["b", ["c"]]),
            ErrorCode.BAD_PARAMETER,
            "the context has a list in it; of one question it is a text or a list of texts, its passages",
        ),
        (SummarizeRequest(text=["a"] * 4), ErrorCode.BAD_PARAMETER, "4 inputs in one request, 3 at most are accepted"),
        (
            AnswerRequest(question=["a", "b"], context=["c"] * 3),
            ErrorCode.BAD_PARAMETER,
            "2 questions and 3 contexts; give one context, or as many as questions",
        ),
        (
            SummarizeRequest(text="a" * 10_001),
            ErrorCode.TOO_LONG,
            "10001 characters, 10000 at most are accepted: split it",
        ),
        (
            SummarizeRequest(text="a", parameters=GenerationParameters(num_beams=9)),
            ErrorCode.BAD_PARAMETER,
            "num_beams = 9: the server allows 8 at most",
        ),
        (
            SummarizeRequest(text=["a", LONG], truncation="chunk", parameters=GenerationParameters(return_scores=True)),
            ErrorCode.BAD_PARAMETER,
            "input 2 of 2: return_scores = true: an output made of those of 2 windows has no score",
        ),
        (
            SummarizeRequest(text=["a", LONG * 20], truncation="chunk"),
            ErrorCode.TOO_LONG,
            "input 2 of 2: the input takes 27 windows, the server allows 20 at most: split it",
        ),
    ],
)
def test_wrong_requests_are_refused(build: Build, request_: TaskRequest, code: ErrorCode, message: str) -> None:
    error = refused(build(Failing(AssertionError("the engine was asked"))), request_)
    assert (error.code, error.message) == (code, message)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (EngineFull("7 requests are queued"), ErrorCode.OVERLOADED),
        (EngineClosed("closed"), ErrorCode.UNAVAILABLE),
        (SourceTooLong("the source has 70 tokens"), ErrorCode.TOO_LONG),
        (InvalidRequest("no_repeat_ngram_size is 99"), ErrorCode.BAD_PARAMETER),
        (GenerationFailed("RuntimeError"), ErrorCode.INTERNAL),
        (RuntimeError("/root/secret"), ErrorCode.INTERNAL),
    ],
)
def test_engine_faults_become_service_errors(build: Build, fault: Exception, code: ErrorCode) -> None:
    error = refused(build(Failing(fault)), SummarizeRequest(text="good morning"))
    assert error.code == code
    assert "secret" not in error.message


def test_internal_faults_are_logged(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "serving"):
        refused(build(Failing(RuntimeError("/root/secret"))), SummarizeRequest(text="good morning"))
    assert "/root/secret" in caplog.text


def test_a_request_that_takes_too_long_is_given_up(build: Build) -> None:
    engine = Failing()
    error = refused(build(engine, Limits(3, 100, 20, 8, request_timeout_seconds=0.01)), SummarizeRequest(text=["a", "b"]))
    assert (error.code, error.message) == (ErrorCode.TIMEOUT, "no answer within the server's limit of 0.01 seconds")
    assert engine.cancelled == 2


def test_a_departed_clients_inputs_are_cancelled_and_counted(build: Build) -> None:
    engine = Failing()
    service = build(engine)

    async def depart() -> None:
        request = asyncio.create_task(service.generate(SummarizeRequest(text=["a", "b"]), "grpc"))
        await asyncio.sleep(0.05)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(depart())
    assert engine.cancelled == 2
    assert counted(service, "dqbart_requests_total") == {("summarization", "summarizer", "grpc", "cancelled"): 1}


def test_ends_are_counted_by_outcome(build: Build) -> None:
    service = build()
    answer = ask(service, SummarizeRequest(text=["good morning", "how are you"]))
    refused(service, SummarizeRequest(text="", model="summarizer"))
    refused(service, SummarizeRequest(text="a", model="no such name"))
    service.refuse("summarization", "grpc", [])
    assert counted(service, "dqbart_requests_total") == {
        ("summarization", "summarizer", "http", "ok"): 1,
        ("summarization", "summarizer", "http", "empty_text"): 1,
        ("summarization", "unknown", "http", "unknown_model"): 1,
        ("summarization", "unknown", "grpc", "bad_parameter"): 1,
    }
    assert counted(service, "dqbart_request_duration_seconds_count")[("summarization", "summarizer", "http")] == 2
    tokens = sum(result.generated_tokens for result in answer.results)
    assert counted(service, "dqbart_generated_tokens_total") == {("summarizer",): tokens}
    assert counted(service, "dqbart_inputs_total") == {("summarizer",): 2}


def test_a_stopped_engine_is_no_health(build: Build) -> None:
    engine = Failing()
    service = build(engine)
    service.check_health()
    engine.alive = False
    with pytest.raises(ServiceError, match="translator, summarizer, answerer cannot answer") as error:
        service.check_health()
    assert error.value.code == ErrorCode.UNAVAILABLE


def test_faults_are_described_without_the_sent_value() -> None:
    faults: list[dict[str, Any]] = [
        {"type": "extra_forbidden", "loc": ("body", "beams"), "msg": "Extra inputs are not permitted", "input": "secret"},
        {
            "type": "string_type",
            "loc": ("body", "text", "list of texts", 1),
            "msg": "Input should be a valid string",
            "input": 5,
        },
    ]
    error = describe_faults(faults)
    assert (error.message, error.field) == ("beams: unknown field; text.1: should be a valid string", "beams")
