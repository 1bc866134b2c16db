"""The gRPC interface: thin calls over the service, as Ray Serve's proxy delivers them.

Ray hands each call a message and a context, in which a status, details and trailers can be set; an exception would reach the
client as INTERNAL with its traceback and without trailers. So a call that fails sets all three and returns an empty message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from pydantic import ValidationError

from protos.dqbart.v1 import seq2seq_pb2 as pb
from quant.card import Task
from serving.service.errors import GRPC_STATUS, ServiceError, internal_error
from serving.service.messages import (
    AnswerRequest,
    GenerateResponse,
    ModelDescription,
    Output,
    Result,
    SummarizeRequest,
    TaskRequest,
    TranslateRequest,
)
from serving.service.service import Service

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Seq2Seq"].full_name
HEALTHY_SERVICES = ("", SERVICE_NAME)
ERROR_CODE_TRAILER = "dqbart-error-code"
RETRY_AFTER_TRAILER = "retry-after"

FINISH_REASONS = {"eos": pb.FINISH_REASON_EOS, "length": pb.FINISH_REASON_LENGTH}
TRUNCATIONS = {
    pb.TRUNCATION_UNSPECIFIED: "error",
    pb.TRUNCATION_ERROR: "error",
    pb.TRUNCATION_END: "end",
    pb.TRUNCATION_CHUNK: "chunk",
}
APPLIED_TRUNCATIONS = {
    "none": pb.APPLIED_TRUNCATION_NONE,
    "end": pb.APPLIED_TRUNCATION_END,
    "chunk": pb.APPLIED_TRUNCATION_CHUNK,
}

M = TypeVar("M", bound=Message)

_LOG = logging.getLogger(__name__)


class Rpc:
    """The calls of dqbart.v1.Seq2Seq and grpc.health.v1.Health. `context` is Ray's RayServegRPCContext."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def translate(self, message: pb.TranslateRequest, context: Any) -> pb.GenerateResponse:
        return await self._generate("translation", lambda: translate_request(message), context)

    async def summarize(self, message: pb.SummarizeRequest, context: Any) -> pb.GenerateResponse:
        return await self._generate("summarization", lambda: summarize_request(message), context)

    async def answer(self, message: pb.AnswerRequest, context: Any) -> pb.GenerateResponse:
        return await self._generate("question-answering", lambda: answer_request(message), context)

    async def list_models(self, message: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        async def models() -> pb.ListModelsResponse:
            return pb.ListModelsResponse(models=[model_message(model) for model in self._service.models().models])

        return await _answered(models, pb.ListModelsResponse, context)

    async def check(self, message: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        """Health of the whole server (service "") or of dqbart.v1.Seq2Seq."""
        if message.service not in HEALTHY_SERVICES:
            _fail(context, StatusCode.NOT_FOUND, f"unknown service; known are {SERVICE_NAME} and the empty name", [])
            return health_pb2.HealthCheckResponse()
        return health_pb2.HealthCheckResponse(status=self._health())

    async def watch(
        self, message: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The health now; the stream then stays open, and its end is the news that the replica is gone."""
        known = message.service in HEALTHY_SERVICES
        status = self._health() if known else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        yield health_pb2.HealthCheckResponse(status=status)
        await asyncio.Event().wait()

    def _health(self) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
        try:
            self._service.check_health()
        except ServiceError:
            return health_pb2.HealthCheckResponse.NOT_SERVING
        return health_pb2.HealthCheckResponse.SERVING

    async def _generate(self, task: Task, convert: Callable[[], TaskRequest], context: Any) -> pb.GenerateResponse:
        async def generate() -> pb.GenerateResponse:
            try:
                request = convert()
            except ValidationError as fault:
                raise self._service.refuse(task, "grpc", fault.errors()) from None
            return response_message(await self._service.generate(request, "grpc"))

        return await _answered(generate, pb.GenerateResponse, context)


async def _answered(call: Callable[[], Awaitable[M]], empty: Callable[[], M], context: Any) -> M:
    try:
        return await call()
    except Exception as fault:
        error = fault if isinstance(fault, ServiceError) else internal_error()
        if error is not fault:
            _LOG.error("a call failed", exc_info=fault)
        trailers = [(ERROR_CODE_TRAILER, str(error.code))]
        if error.retry_after is not None:
            trailers.append((RETRY_AFTER_TRAILER, str(error.retry_after)))
        _fail(context, GRPC_STATUS[error.code], error.message, trailers)
        return empty()


def _fail(context: Any, status: StatusCode, details: str, trailers: list[tuple[str, str]]) -> None:
    context.set_code(status)
    context.set_details(details)
    context.set_trailing_metadata(trailers)


def translate_request(message: pb.TranslateRequest) -> TranslateRequest:
    """Raises ValidationError, as the two below do."""
    languages = {"source_language": message.source_language or None, "target_language": message.target_language or None}
    return TranslateRequest.model_validate({"text": list(message.texts), **languages, **_shared(message)})


def summarize_request(message: pb.SummarizeRequest) -> SummarizeRequest:
    return SummarizeRequest.model_validate({"text": list(message.texts), **_shared(message)})


def answer_request(message: pb.AnswerRequest) -> AnswerRequest:
    questions = [each.question for each in message.questions]
    contexts = ["\n".join(each.contexts) for each in message.questions]
    return AnswerRequest.model_validate({"question": questions, "context": contexts, **_shared(message)})


def response_message(response: GenerateResponse) -> pb.GenerateResponse:
    return pb.GenerateResponse(model=response.model, results=[_result_message(result) for result in response.results])


def model_message(model: ModelDescription) -> pb.Model:
    fields = model.model_dump()
    return pb.Model(**{**fields, "defaults": pb.GenerationParameters(**fields["defaults"])})


def _shared(message: pb.TranslateRequest | pb.SummarizeRequest | pb.AnswerRequest) -> dict[str, Any]:
    # ListFields leaves out what the client did not set, a set 0 is in it.
    parameters = {field.name: value for field, value in message.parameters.ListFields()}
    # A number that the enum does not have is kept, to be refused.
    truncation = TRUNCATIONS.get(message.truncation, message.truncation)
    return {"model": message.model or None, "parameters": parameters, "truncation": truncation}


def _result_message(result: Result) -> pb.Result:
    truncation = result.truncation.model_dump()
    return pb.Result(
        **_output_fields(result),
        source_tokens=result.source_tokens,
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
