"""The service: everything between a protocol's message and the engine, the same for HTTP and gRPC.

A request is validated, its texts are encoded and answered, and its end is counted, here and nowhere else. A request is
answered or refused whole: when one of its inputs fails, the others are cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, TypeVar

from quant.card import Task
from serving.engine.errors import EngineClosed, EngineFull, InvalidRequest, SourceTooLong
from serving.observability.metrics import UNKNOWN_MODEL, Metrics
from serving.service.answering import Answering, PreparedInput, all_or_none, prepare
from serving.service.errors import ErrorCode, ServiceError, internal_error
from serving.service.languages import resolve_languages
from serving.service.messages import (
    ONE,
    SEVERAL,
    AnswerRequest,
    GenerateResponse,
    ModelList,
    SummarizeRequest,
    TaskRequest,
    TranslateRequest,
)
from serving.service.models import Models, ServedModel
from serving.service.sources import SourceReader

T = TypeVar("T")

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
    max_windows: int
    max_rows: int
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
        reader = self._reader(model, request)

        def encode() -> list[PreparedInput]:
            prepared = []
            for index, texts in enumerate(inputs):
                try:
                    sources = reader.read(texts)
                    parameters = model.checked.defaults.resolve(
                        request.parameters, sources.windows[0], self._limits.max_rows
                    )
                    prepared.append(prepare(sources, parameters, model.checked.card.task))
                except ServiceError as error:
                    raise ServiceError(error.code, _numbered(index, inputs, error.message), error.field) from None
            return prepared

        prepared = await _off_loop_if_long(sum(map(_characters, inputs)), encode)
        answering = Answering(
            model,
            self._metrics,
            self._limits.max_inputs,
            lambda texts: _off_loop_if_long(_characters(texts), lambda: reader.read(texts)),
        )
        results = await all_or_none(answering.answer(each) for each in prepared)
        return GenerateResponse(model=model.name, results=results)

    def _reader(self, model: ServedModel, request: TaskRequest) -> SourceReader:
        card = model.checked.card
        source_language = target_language = None
        if isinstance(request, TranslateRequest):
            source_language, target_language = resolve_languages(
                card.language_pairs, request.source_language, request.target_language
            )
        return SourceReader(
            model.codec, card.task, source_language, target_language, request.truncation, self._limits.max_windows
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
            characters = _characters(texts)
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


async def _off_loop_if_long(characters: int, work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work) if characters > OFF_LOOP_CHARACTERS else work()


def _characters(texts: Mapping[str, str]) -> int:
    return sum(map(len, texts.values()))


def _listed(text: str | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def _numbered(index: int, inputs: list[dict[str, str]], message: str) -> str:
    return f"input {index + 1} of {len(inputs)}: {message}" if len(inputs) > 1 else message
