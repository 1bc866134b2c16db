"""The service: everything between a protocol's message and the engine, the same for HTTP and gRPC.

A request is validated, its texts are encoded, generated from and decoded, and its end is counted, here and nowhere else. An
input is answered or refused whole: when one of a request's inputs fails, the others are cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

from quant.card import Task
from serving.engine.errors import EngineClosed, EngineFull, InvalidRequest, SourceTooLong
from serving.engine.request import Request
from serving.errors import ErrorCode, ServiceError, internal_error
from serving.languages import resolve_languages
from serving.messages import (
    ONE,
    SEVERAL,
    AnswerRequest,
    GenerateResponse,
    ModelList,
    Result,
    SummarizeRequest,
    TaskRequest,
    Timings,
    TranslateRequest,
)
from serving.metrics import UNKNOWN_MODEL, Metrics
from serving.models import Models, ServedModel

Protocol = Literal["http", "grpc"]

TASK_OF: dict[type[TaskRequest], Task] = {
    TranslateRequest: "translation",
    SummarizeRequest: "summarization",
    AnswerRequest: "question-answering",
}

OFF_LOOP_CHARACTERS = 4000
"""A request with more text is encoded on a thread: it takes over a millisecond, in which the loop can serve others."""

NOT_FIELDS = ("body", ONE, SEVERAL)
"""What pydantic puts into a fault's location beside the names of fields."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one request may ask of the server; filled from the settings."""

    max_inputs: int
    max_source_characters: int
    max_beams: int
    request_timeout_seconds: float

    @property
    def max_message_bytes(self) -> int:
        """No acceptable request is larger, on either protocol: JSON may spell a character in 12 bytes."""
        return 12 * self.max_inputs * self.max_source_characters + (1 << 20)


class Service:
    """Answers requests with the served models."""

    def __init__(self, models: Models, limits: Limits, metrics: Metrics) -> None:
        self._models = models
        self._limits = limits
        self._metrics = metrics

    @property
    def limits(self) -> Limits:
        return self._limits

    async def generate(self, request: TaskRequest, protocol: Protocol) -> GenerateResponse:
        """Answer every input of a request. Raises ServiceError, and nothing else but CancelledError."""
        task = TASK_OF[type(request)]
        started = perf_counter()
        name, outcome = UNKNOWN_MODEL, "cancelled"
        try:
            model = self._models.choose(task, request.model)
            name = model.name
            async with asyncio.timeout(self._limits.request_timeout_seconds):
                response = await self._answer(model, request)
            outcome = "ok"
            return response
        except Exception as fault:
            error = self._service_error(fault)
            outcome = error.code
            raise error from None
        finally:
            self._metrics.record_request(task, name, protocol, outcome, perf_counter() - started)

    def refuse(self, task: Task, protocol: Protocol, faults: Iterable[Mapping[str, Any]]) -> ServiceError:
        """Count a request whose fields are wrong, and describe the faults that pydantic found."""
        self._metrics.record_request(task, UNKNOWN_MODEL, protocol, ErrorCode.BAD_PARAMETER, 0.0)
        return describe_faults(faults)

    def check_health(self) -> None:
        """Raises ServiceError (unavailable) when an engine has stopped."""
        if stopped := self._models.stopped():
            raise ServiceError(ErrorCode.UNAVAILABLE, f"{', '.join(stopped)} cannot answer; the replica is being replaced")

    def models(self) -> ModelList:
        """Every served model."""
        return ModelList(models=self._models.describe())

    def metrics_page(self) -> bytes:
        """Metrics of all replicas in Prometheus' text format."""
        return self._metrics.page()

    async def _answer(self, model: ServedModel, request: TaskRequest) -> GenerateResponse:
        inputs = _inputs(request)
        self._check_inputs(inputs)
        submitted = await self._encode(model, request, inputs)
        generations = [asyncio.create_task(self._generate_one(model, each)) for each in submitted]
        try:
            return GenerateResponse(model=model.name, results=list(await asyncio.gather(*generations)))
        finally:
            for generation in generations:
                generation.cancel()

    async def _encode(self, model: ServedModel, request: TaskRequest, inputs: list[dict[str, str]]) -> list[Request]:
        source_language = target_language = None
        if isinstance(request, TranslateRequest):
            source_language, target_language = resolve_languages(
                model.checked.card.language_pairs, request.source_language, request.target_language
            )

        def encode() -> list[Request]:
            requests = []
            for index, texts in enumerate(inputs):
                try:
                    source = model.codec.encode(texts, source_language, target_language)
                except ServiceError as error:
                    raise ServiceError(error.code, _numbered(index, inputs, error.message), error.field) from None
                parameters = model.checked.defaults.resolve(request.parameters, source, self._limits.max_beams)
                requests.append(Request(source.source_ids, parameters))
            return requests

        if sum(len(text) for texts in inputs for text in texts.values()) > OFF_LOOP_CHARACTERS:
            return await asyncio.to_thread(encode)
        return encode()

    async def _generate_one(self, model: ServedModel, request: Request) -> Result:
        result = await model.engine.generate(request)
        self._metrics.record_result(model.name, len(request.source_ids), result)
        return Result(
            text=model.codec.decode(result.token_ids),
            source_tokens=len(request.source_ids),
            generated_tokens=len(result.token_ids),
            finish_reason=result.finish_reason,
            timings=Timings(queue=result.queue_seconds, encode=result.encode_seconds, decode=result.decode_seconds),
        )

    def _check_inputs(self, inputs: list[dict[str, str]]) -> None:
        if not inputs:
            raise ServiceError(ErrorCode.EMPTY_TEXT, "no text is given")
        if len(inputs) > self._limits.max_inputs:
            message = f"{len(inputs)} inputs in one request, {self._limits.max_inputs} at most are accepted"
            raise ServiceError(ErrorCode.BAD_PARAMETER, message)
        for index, texts in enumerate(inputs):
            for field, text in texts.items():
                if not text.strip():
                    raise ServiceError(ErrorCode.EMPTY_TEXT, _numbered(index, inputs, f"the {field} is empty"))
            characters = sum(map(len, texts.values()))
            if characters > self._limits.max_source_characters:
                message = f"{characters} characters, {self._limits.max_source_characters} at most are accepted: split it"
                raise ServiceError(ErrorCode.TOO_LONG, _numbered(index, inputs, message))

    def _service_error(self, fault: Exception) -> ServiceError:
        match fault:
            case ServiceError():
                return fault
            case TimeoutError():
                seconds = self._limits.request_timeout_seconds
                return ServiceError(ErrorCode.TIMEOUT, f"no answer within the server's limit of {seconds:g} seconds")
            case EngineFull():
                return ServiceError(ErrorCode.OVERLOADED, "too many requests are waiting; repeat this one later")
            case EngineClosed():
                return ServiceError(ErrorCode.UNAVAILABLE, "the server is stopping or restarting; repeat this later")
            case SourceTooLong():
                return ServiceError(ErrorCode.TOO_LONG, str(fault))
            case InvalidRequest():
                return ServiceError(ErrorCode.BAD_PARAMETER, str(fault))
            case _:
                _LOG.error("a request failed", exc_info=fault)
                return internal_error()


def describe_faults(faults: Iterable[Mapping[str, Any]]) -> ServiceError:
    """Faults as pydantic lists them, as one error; the value that was sent is not repeated."""
    described, first = [], None
    for fault in faults:
        if fault["type"] == "json_invalid":
            reason = fault.get("ctx", {}).get("error", "")
            return ServiceError(ErrorCode.BAD_PARAMETER, f"the body is no valid JSON: {reason}")
        field = ".".join(str(part) for part in fault["loc"] if part not in NOT_FIELDS)
        first = first or field or None
        message = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
        message = "unknown field" if fault["type"] == "extra_forbidden" else message
        described.append(f"{field}: {message}" if field else message)
    return ServiceError(ErrorCode.BAD_PARAMETER, "; ".join(described), first)


def _inputs(request: TaskRequest) -> list[dict[str, str]]:
    """The texts of each input, by the names that the card's template uses."""
    if not isinstance(request, AnswerRequest):
        return [{"source": text} for text in _listed(request.text)]
    questions, contexts = _listed(request.question), _listed(request.context)
    if isinstance(request.context, str):
        contexts *= len(questions)
    if len(contexts) != len(questions):
        message = f"{len(questions)} questions and {len(contexts)} contexts; give one context, or as many as questions"
        raise ServiceError(ErrorCode.BAD_PARAMETER, message, "context")
    return [{"question": question, "context": context} for question, context in zip(questions, contexts, strict=True)]


def _listed(text: str | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def _numbered(index: int, inputs: list[dict[str, str]], message: str) -> str:
    return f"input {index + 1} of {len(inputs)}: {message}" if len(inputs) > 1 else message
