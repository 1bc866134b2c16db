"""The gRPC interface: thin calls over the service, as Ray Serve's proxy delivers them.

Ray hands each call a message and a context, in which a status, details and trailers can be set; an exception would reach the
client as INTERNAL with its traceback and without trailers. So a call that fails sets all three and returns an empty message.
Of a stream, Ray hands them on with a message only: one that fails ends with an empty message, before its status.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from google.protobuf.message import Message
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from pydantic import ValidationError

from protos.dqbart.v1 import seq2seq_pb2 as pb
from quant.card import Task
from quant.generation import EarlyStopping
from serving.rpc.guard import Call, CallGuard, fail, guarded, guarded_stream
from serving.rpc.health import Health
from serving.service.descriptions import ModelDescription
from serving.service.errors import ServiceError, internal_error
from serving.service.gate import Gate
from serving.service.off_loop import off_loop
from serving.service.requests import AnswerRequest, SummarizeRequest, TaskRequest, TranslateRequest
from serving.service.results import GenerateResponse, InputResult, Output, Result, StreamEvent, TextDelta
from serving.service.service import Service

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Seq2Seq"].full_name
HEALTHY_SERVICES = ("", SERVICE_NAME)

FINISH_REASONS = {"eos": pb.FINISH_REASON_EOS, "length": pb.FINISH_REASON_LENGTH}
TRUNCATIONS = {
    pb.TRUNCATION_ERROR: "error",
    pb.TRUNCATION_END: "end",
    pb.TRUNCATION_CHUNK: "chunk",
}
EARLY_STOPPING: dict[int, EarlyStopping] = {
    pb.EARLY_STOPPING_FALSE: False,
    pb.EARLY_STOPPING_TRUE: True,
    pb.EARLY_STOPPING_NEVER: "never",
}
APPLIED_TRUNCATIONS = {
    "none": pb.APPLIED_TRUNCATION_NONE,
    "end": pb.APPLIED_TRUNCATION_END,
    "chunk": pb.APPLIED_TRUNCATION_CHUNK,
}

OFF_LOOP_TOKENS = 200
"""A message that tells of more tokens takes over a millisecond to make."""

M = TypeVar("M", bound=Message)

_LOG = logging.getLogger(__name__)


class Rpc:
    """The calls of dqbart.v1.Seq2Seq and grpc.health.v1.Health. `context` is Ray's RayServegRPCContext."""

    def __init__(self, service: Service, gate: Gate | None = None) -> None:
        self._service = service
        self._health = Health(service)
        self.guard = CallGuard(gate or Gate(), service)

    @guarded(Call("dqbart.v1.Seq2Seq/Translate", pb.TranslateRequest, "translation"), pb.GenerateResponse)
    async def translate(self, message: pb.TranslateRequest, context: Any) -> pb.GenerateResponse:
        return await self._generate("translation", lambda: translate_request(message), context)

    @guarded(Call("dqbart.v1.Seq2Seq/Summarize", pb.SummarizeRequest, "summarization"), pb.GenerateResponse)
    async def summarize(self, message: pb.SummarizeRequest, context: Any) -> pb.GenerateResponse:
        return await self._generate("summarization", lambda: summarize_request(message), context)

    @guarded(Call("dqbart.v1.Seq2Seq/Answer", pb.AnswerRequest, "question-answering"), pb.GenerateResponse)
    async def answer(self, message: pb.AnswerRequest, context: Any) -> pb.GenerateResponse:
        return await self._generate("question-answering", lambda: answer_request(message), context)

    @guarded_stream(Call("dqbart.v1.Seq2Seq/TranslateStream", pb.TranslateRequest, "translation"), pb.StreamEvent)
    def translate_stream(self, message: pb.TranslateRequest, context: Any) -> AsyncGenerator[pb.StreamEvent]:
        return self._stream("translation", lambda: translate_request(message), context)

    @guarded_stream(Call("dqbart.v1.Seq2Seq/SummarizeStream", pb.SummarizeRequest, "summarization"), pb.StreamEvent)
    def summarize_stream(self, message: pb.SummarizeRequest, context: Any) -> AsyncGenerator[pb.StreamEvent]:
        return self._stream("summarization", lambda: summarize_request(message), context)

    @guarded_stream(Call("dqbart.v1.Seq2Seq/AnswerStream", pb.AnswerRequest, "question-answering"), pb.StreamEvent)
    def answer_stream(self, message: pb.AnswerRequest, context: Any) -> AsyncGenerator[pb.StreamEvent]:
        return self._stream("question-answering", lambda: answer_request(message), context)

    @guarded(Call("dqbart.v1.Seq2Seq/ListModels", pb.ListModelsRequest), pb.ListModelsResponse)
    async def list_models(self, message: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        async def models() -> pb.ListModelsResponse:
            return pb.ListModelsResponse(models=[model_message(model) for model in self._service.models().models])

        return await _answered(models, pb.ListModelsResponse, context)

    @guarded(
        Call("grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest, places="others"), health_pb2.HealthCheckResponse
    )
    async def check(self, message: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        """Health of the whole server (service "") or of dqbart.v1.Seq2Seq."""
        if message.service not in HEALTHY_SERVICES:
            context.set_code(StatusCode.NOT_FOUND)
            context.set_details(f"unknown service; known are {SERVICE_NAME} and the empty name")
            return health_pb2.HealthCheckResponse()
        return health_pb2.HealthCheckResponse(status=self._health.status())

    @guarded_stream(
        Call("grpc.health.v1.Health/Watch", health_pb2.HealthCheckRequest, places="watchers"), health_pb2.HealthCheckResponse
    )
    async def watch(
        self, message: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse]:
        """The health now and whenever it changes. The stream stays open; its end is the news that the replica is gone."""
        if message.service not in HEALTHY_SERVICES:
            yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            await asyncio.Event().wait()
        async with aclosing(self._health.watched()) as statuses:
            async for status in statuses:
                yield health_pb2.HealthCheckResponse(status=status)

    async def _generate(self, task: Task, convert: Callable[[], TaskRequest], context: Any) -> pb.GenerateResponse:
        async def generate() -> pb.GenerateResponse:
            response = await self._service.generate(self._request(task, convert), "grpc")
            return await _made(partial(response_message, response), response.results)

        return await _answered(generate, pb.GenerateResponse, context)

    async def _stream(self, task: Task, convert: Callable[[], TaskRequest], context: Any) -> AsyncGenerator[pb.StreamEvent]:
        try:
            async with aclosing(self._service.stream(self._request(task, convert), "grpc")) as events:
                async for event in events:
                    results = [event.result] if isinstance(event, InputResult) else []
                    yield await _made(partial(event_message, event), results)
        except Exception as fault:
            _end(context, fault)
            yield pb.StreamEvent()

    def _request(self, task: Task, convert: Callable[[], TaskRequest]) -> TaskRequest:
        try:
            return convert()
        except ValidationError as fault:
            raise self._service.refuse(task, "grpc", fault.errors()) from None


async def _made(make: Callable[[], M], results: Iterable[Result]) -> M:
    """A message of results, made beside the loop where they tell of many tokens."""
    outputs = (output for result in results for output in (result.sequences or [result]))
    tokens = sum(len(output.tokens or ()) for output in outputs)
    return await off_loop(make) if tokens > OFF_LOOP_TOKENS else make()


async def _answered(call: Callable[[], Awaitable[M]], empty: Callable[[], M], context: Any) -> M:
    try:
        return await call()
    except Exception as fault:
        _end(context, fault)
        return empty()


def _end(context: Any, fault: Exception) -> None:
    """Have the call end with the status of a fault."""
    error = fault if isinstance(fault, ServiceError) else internal_error()
    if error is not fault:
        _LOG.error("a call failed", exc_info=fault)
    fail(context, error)


def translate_request(message: pb.TranslateRequest) -> TranslateRequest:
    """Raises ValidationError, as the two below do."""
    languages = {"source_language": message.source_language or None, "target_language": message.target_language or None}
    return TranslateRequest.model_validate({"text": list(message.texts), **languages, **_shared(message)})


def summarize_request(message: pb.SummarizeRequest) -> SummarizeRequest:
    return SummarizeRequest.model_validate({"text": list(message.texts), **_shared(message)})


def answer_request(message: pb.AnswerRequest) -> AnswerRequest:
    questions = [each.question for each in message.questions]
    contexts = [list(each.contexts) for each in message.questions]
    return AnswerRequest.model_validate({"question": questions, "context": contexts, **_shared(message)})


def response_message(response: GenerateResponse) -> pb.GenerateResponse:
    return pb.GenerateResponse(model=response.model, results=[_result_message(result) for result in response.results])


def event_message(event: StreamEvent) -> pb.StreamEvent:
    if isinstance(event, TextDelta):
        return pb.StreamEvent(model=event.model, input=event.input, text=event.text)
    return pb.StreamEvent(model=event.model, input=event.input, result=_result_message(event.result))


def model_message(model: ModelDescription) -> pb.Model:
    fields = model.model_dump()
    for described in (fields, *fields["evaluations"]):
        name = "defaults" if described is fields else "decoding"
        described[name] = _parameters_message(described[name])
    return pb.Model(**fields)


def _parameters_message(parameters: dict[str, Any]) -> pb.GenerationParameters:
    named = {value: number for number, value in EARLY_STOPPING.items()}
    return pb.GenerationParameters(**{**parameters, "early_stopping": named.get(parameters["early_stopping"])})


def _shared(message: pb.TranslateRequest | pb.SummarizeRequest | pb.AnswerRequest) -> dict[str, Any]:
    # ListFields leaves out what the client did not set, a set 0 is in it.
    parameters = {field.name: value for field, value in message.parameters.ListFields()}
    # A number that an enum does not have is kept, to be refused.
    if (early := parameters.get("early_stopping")) is not None:
        parameters["early_stopping"] = EARLY_STOPPING.get(early, early)
    shared: dict[str, Any] = {"model": message.model or None, "parameters": parameters}
    if message.truncation != pb.TRUNCATION_UNSPECIFIED:
        shared["truncation"] = TRUNCATIONS.get(message.truncation, message.truncation)
    return shared


def _result_message(result: Result) -> pb.Result:
    truncation = result.truncation.model_dump()
    return pb.Result(
        **_output_fields(result),
        source_tokens=result.source_tokens,
        unknown_tokens=result.unknown_tokens,
        timings=pb.Timings(**result.timings.model_dump()),
        truncation=pb.TruncationReport(**{**truncation, "applied": APPLIED_TRUNCATIONS[result.truncation.applied]}),
        seed=result.seed,
        sequences=[pb.Output(**_output_fields(output)) for output in result.sequences or []],
    )


def _output_fields(output: Output) -> dict[str, Any]:
    return {
        "text": output.text,
        "generated_tokens": output.generated_tokens,
        "finish_reason": FINISH_REASONS[output.finish_reason],
        "score": output.score,
        "tokens": [pb.Token(**token.model_dump()) for token in output.tokens or []],
    }
