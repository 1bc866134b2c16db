"""The conversions, and how a failed call ends; the calls over the wire are in test_server.py."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from pydantic import ValidationError

from protos.dqbart.v1 import seq2seq_pb2 as pb
from quant.generation import EarlyStopping
from serving.observability.metrics import Metrics
from serving.rpc.calls import Rpc, answer_request, model_message, response_message, summarize_request, translate_request
from serving.service.descriptions import Evaluation, ModelDescription, Score
from serving.service.errors import ErrorCode, ServiceError
from serving.service.models import Models
from serving.service.requests import AnswerRequest, GenerationParameters, SummarizeRequest, TranslateRequest
from serving.service.results import GenerateResponse, Output, Result, Timings, Token, TruncationReport
from serving.service.service import Limits, Service
from tests.serving.rpc.ray_context import Context, unread


class FailingService(Service):
    """Everything ends in `fault`."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(Models([], {}), Limits(1, 1, 1, 1, 1.0), Metrics())
        self.fault = fault

    async def generate(self, request: Any, protocol: Any) -> Any:
        raise self.fault

    def models(self) -> Any:
        raise self.fault

    def check_health(self) -> None:
        raise self.fault


def failed(fault: Exception) -> Context:
    context = Context()
    message = asyncio.run(Rpc(FailingService(fault)).summarize(unread(pb.SummarizeRequest(texts=["a"])), context))
    assert message == pb.GenerateResponse()
    return context


def test_overload_says_when_to_come_back() -> None:
    context = failed(ServiceError(ErrorCode.OVERLOADED, "too many"))
    assert (context.status, context.details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")
    assert context.trailers[1:3] == [("dqbart-error-code", "overloaded"), ("retry-after", "1")]


def test_an_unexpected_fault_shows_nothing_of_the_inside() -> None:
    context = failed(RuntimeError("/root/secret"))
    assert context.status == grpc.StatusCode.INTERNAL
    assert "secret" not in context.details
    listed = Context()
    asyncio.run(Rpc(FailingService(RuntimeError("/root/secret"))).list_models(unread(pb.ListModelsRequest()), listed))
    assert listed.status == grpc.StatusCode.INTERNAL


def test_wrong_parameters_are_named_and_counted() -> None:
    service, context = FailingService(AssertionError("the service was asked")), Context()
    wrong = pb.SummarizeRequest(texts=["a"], parameters=pb.GenerationParameters(num_beams=0))
    asyncio.run(Rpc(service).summarize(unread(wrong), context))
    assert context.status == grpc.StatusCode.INVALID_ARGUMENT
    assert context.details == "parameters.num_beams: should be greater than or equal to 1"
    assert b'outcome="bad_parameter",protocol="grpc"' in service.metrics_page()


def test_a_stopped_engine_is_not_serving() -> None:
    rpc = Rpc(FailingService(ServiceError(ErrorCode.UNAVAILABLE, "stopped")))
    response = asyncio.run(rpc.check(unread(health_pb2.HealthCheckRequest()), Context()))
    assert response.status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_absent_fields_are_left_to_the_defaults() -> None:
    assert translate_request(pb.TranslateRequest(texts=["a"])) == TranslateRequest(text=["a"])
    assert summarize_request(pb.SummarizeRequest(texts=["a"])) == SummarizeRequest(text=["a"])


def test_set_fields_are_kept_zeros_too() -> None:
    parameters = pb.GenerationParameters(
        min_new_tokens=0, early_stopping=pb.EARLY_STOPPING_FALSE, length_penalty=-1.5, encoder_no_repeat_ngram_size=0
    )
    message = pb.TranslateRequest(
        texts=["a", "b"], model="m", source_language="de", target_language="en", parameters=parameters
    )
    expected = GenerationParameters(
        min_new_tokens=0, early_stopping=False, length_penalty=-1.5, encoder_no_repeat_ngram_size=0
    )
    assert translate_request(message) == TranslateRequest(
        text=["a", "b"], model="m", source_language="de", target_language="en", parameters=expected
    )


@pytest.mark.parametrize(
    ("sent", "meant"),
    [(pb.EARLY_STOPPING_FALSE, False), (pb.EARLY_STOPPING_TRUE, True), (pb.EARLY_STOPPING_NEVER, "never")],
)
def test_each_kind_of_early_stopping_is_kept(sent: pb.EarlyStopping.ValueType, meant: EarlyStopping) -> None:
    message = pb.SummarizeRequest(texts=["a"], parameters=pb.GenerationParameters(early_stopping=sent))
    assert summarize_request(message).parameters == GenerationParameters(early_stopping=meant)


def test_a_kind_of_early_stopping_that_there_is_not_is_refused() -> None:
    message = pb.SummarizeRequest(texts=["a"], parameters=pb.GenerationParameters(early_stopping=3))  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="early_stopping"):
        summarize_request(message)


def test_parameters_of_sampling_are_kept() -> None:
    parameters = {"do_sample": True, "top_p": 0.5, "seed": 2**53 - 1, "num_return_sequences": 3, "return_scores": True}
    message = pb.SummarizeRequest(texts=["a"], parameters=pb.GenerationParameters(**parameters))  # type: ignore[arg-type]
    assert summarize_request(message).parameters == GenerationParameters.model_validate(parameters)


@pytest.mark.parametrize(("sent", "truncation"), [(pb.TRUNCATION_ERROR, "error"), (pb.TRUNCATION_END, "end"), (3, "chunk")])
def test_truncation_is_read_from_every_request(sent: pb.Truncation.ValueType, truncation: str) -> None:
    question = pb.Question(question="q", contexts=["c"])
    assert translate_request(pb.TranslateRequest(texts=["a"], truncation=sent)).truncation == truncation
    assert summarize_request(pb.SummarizeRequest(texts=["a"], truncation=sent)).truncation == truncation
    assert answer_request(pb.AnswerRequest(questions=[question], truncation=sent)).truncation == truncation


def test_without_a_truncation_the_tasks_own_holds() -> None:
    question = pb.Question(question="q", contexts=["c"])
    assert translate_request(pb.TranslateRequest(texts=["a"])).truncation == "chunk"
    assert summarize_request(pb.SummarizeRequest(texts=["a"])).truncation == "error"
    assert answer_request(pb.AnswerRequest(questions=[question])).truncation == "error"


def test_an_unknown_truncation_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"truncation\n.*'error', 'end' or 'chunk'"):
        summarize_request(pb.SummarizeRequest(texts=["a"], truncation=9))  # type: ignore[arg-type]


def result(**optional: Any) -> Result:
    return Result(
        text="a",
        generated_tokens=3,
        finish_reason="length",
        source_tokens=5,
        timings=Timings(queue=0.1, encode=0.2, decode=0.3),
        truncation=TruncationReport(applied="chunk", windows=2, source_tokens_total=9, source_tokens_used=8),
        **optional,
    )


def test_unknown_tokens_are_told() -> None:
    (message,) = response_message(GenerateResponse(model="m", results=[result(unknown_tokens=2)])).results
    assert message.unknown_tokens == 2


def test_a_plain_result_has_nothing_that_was_not_asked_for() -> None:
    (message,) = response_message(GenerateResponse(model="m", results=[result()])).results
    assert (message.text, message.source_tokens, message.generated_tokens, message.timings.decode) == ("a", 5, 3, 0.3)
    assert message.finish_reason == pb.FINISH_REASON_LENGTH
    assert message.truncation == pb.TruncationReport(
        applied=pb.APPLIED_TRUNCATION_CHUNK, windows=2, source_tokens_total=9, source_tokens_used=8
    )
    assert not message.HasField("seed")
    assert not message.HasField("score")
    assert not message.truncation.HasField("answer_window")
    assert (len(message.tokens), len(message.sequences)) == (0, 0)


def test_scores_and_sequences_are_converted_whole() -> None:
    tokens = [Token(id=4, token="▁a", log_probability=-0.5)]
    output = Output(text="b", generated_tokens=1, finish_reason="eos", score=-0.75, tokens=tokens)
    response = GenerateResponse(model="m", results=[result(seed=0, score=-0.25, tokens=tokens, sequences=[output, output])])
    (message,) = response_message(response).results
    expected = [pb.Token(id=4, token="▁a", log_probability=-0.5)]
    assert (message.seed, message.HasField("seed"), message.score, list(message.tokens)) == (0, True, -0.25, expected)
    sequence = pb.Output(text="b", generated_tokens=1, finish_reason=pb.FINISH_REASON_EOS, score=-0.75, tokens=expected)
    assert list(message.sequences) == [sequence, sequence]


def test_questions_and_contexts_stay_together() -> None:
    message = pb.AnswerRequest(
        questions=[pb.Question(question="q", contexts=["c"]), pb.Question(question="r", contexts=["best", "second"])]
    )
    assert answer_request(message) == AnswerRequest(question=["q", "r"], context=[["c"], ["best", "second"]])


def test_limits_hold_for_messages_too() -> None:
    with pytest.raises(ValidationError):
        summarize_request(pb.SummarizeRequest(texts=["a"], model="m" * 201))


def test_http_and_grpc_fields_have_the_same_names() -> None:
    assert [field.name for field in pb.GenerationParameters.DESCRIPTOR.fields] == list(GenerationParameters.model_fields)
    for message, fields in (
        (pb.Model, ModelDescription),
        (pb.Evaluation, Evaluation),
        (pb.Score, Score),
        (pb.Result, Result),
        (pb.Output, Output),
        (pb.Token, Token),
        (pb.TruncationReport, TruncationReport),
    ):
        assert {field.name for field in message.DESCRIPTOR.fields} == set(fields.model_fields)


def test_a_description_is_converted_whole() -> None:
    description = ModelDescription(
        name="m",
        task="translation",
        is_default=True,
        languages=["de_DE"],
        scheme="2-2-8",
        layers="6-3",
        size_bytes=1 << 33,
        compression_ratio=23.5,
        max_source_tokens=1024,
        defaults=GenerationParameters(num_beams=4, early_stopping=False),
        teacher="t",
        teacher_layers="6-6",
        teacher_bytes=1 << 34,
        loaded=True,
        evaluations=[
            Evaluation(
                data="d",
                examples=10,
                decoding=GenerationParameters(num_beams=2, early_stopping="never"),
                scores=[Score(metric="BLEU", student=46.5), Score(metric="chrF", student=0.0, teacher=61.0)],
            )
        ],
    )
    message = model_message(description)
    assert (message.name, message.size_bytes, message.compression_ratio) == ("m", 1 << 33, 23.5)
    assert message.loaded
    assert message.defaults.num_beams == 4
    assert message.defaults.HasField("early_stopping")
    assert not message.defaults.HasField("max_new_tokens")
    (evaluation,) = message.evaluations
    assert (evaluation.source_language, evaluation.decoding.num_beams) == ("", 2)
    assert evaluation.decoding.early_stopping == pb.EARLY_STOPPING_NEVER
    assert [(score.metric, score.student) for score in evaluation.scores] == [("BLEU", 46.5), ("chrF", 0.0)]
    assert [score.HasField("teacher") for score in evaluation.scores] == [False, True]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", [f.name for f in pb.GenerationParameters.DESCRIPTOR.fields if f.type == f.TYPE_DOUBLE])
def test_what_is_no_number_is_refused(field: str, value: float) -> None:
    service, context = FailingService(AssertionError("the service was asked")), Context()
    wrong = pb.SummarizeRequest(texts=["a"], parameters=pb.GenerationParameters(**{field: value}))
    asyncio.run(Rpc(service).summarize(unread(wrong), context))
    assert context.status == grpc.StatusCode.INVALID_ARGUMENT
    assert context.details.startswith(f"parameters.{field}: ")
