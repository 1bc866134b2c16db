"""Requests that get no answer: what is wrong with them, and faults of an engine that fails on purpose."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from serving.engine.errors import EngineClosed, EngineFull, GenerationFailed, InvalidRequest, SourceTooLong
from serving.engine.request import Request, Result
from serving.service.errors import ErrorCode
from serving.service.preparing import OFF_LOOP_CHARACTERS
from serving.service.requests import AnswerRequest, GenerationParameters, SummarizeRequest, TaskRequest
from serving.service.service import Limits, describe_faults
from tests.serving.service.rig import LONG, Build, Failing, refused


def test_a_full_queue_refuses_the_whole_request(build: Build) -> None:
    class Full(Failing):
        async def generate(self, request: Request) -> Result:
            if self.asked == 2:
                self.raised = EngineFull("full")
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
            "num_beams = 9: 8 at most are decoded together, by max_batch_rows",
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
