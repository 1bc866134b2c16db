"""Requests that are answered, over real codecs and the real engine, and how their ends are counted."""

from __future__ import annotations

import asyncio

import pytest

from serving.service.errors import ErrorCode, ServiceError
from serving.service.requests import AnswerRequest, GenerationParameters, SummarizeRequest, TranslateRequest
from tests.serving.service.rig import LONG, SENTENCES, Build, Failing, ask, counted, refused


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
    chunked = ask(service, TranslateRequest(text=LONG, source_language="en")).results[0]
    assert chunked.text == " ".join(result.text for result in alone) + " "
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


def test_a_departed_clients_inputs_are_cancelled_and_counted(build: Build) -> None:
    engine = Failing()
    service = build(engine)

    async def depart() -> None:
        request = asyncio.create_task(service.generate(SummarizeRequest(text=["a", "b"]), "grpc"))
        while engine.asked < 2:
            await asyncio.sleep(0.001)
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
    engine.fault = "it is broken"
    told = "translator, summarizer, answerer cannot answer: it is broken. The replica is being replaced"
    with pytest.raises(ServiceError, match=told) as error:
        service.check_health()
    assert error.value.code == ErrorCode.UNAVAILABLE
