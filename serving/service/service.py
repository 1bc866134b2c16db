"""The service: everything between a protocol's message and the engine, the same for HTTP and gRPC.

A request is validated, its texts are encoded and answered, and its end is counted, here and nowhere else. A request is
answered or refused whole: when one of its inputs fails, the others are cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Literal

from quant.card import Task, Texts
from serving.engine.errors import EngineClosed, EngineFull, EngineNotOpened, InvalidRequest
from serving.observability.requests import current_request
from serving.service.answering import Answering
from serving.service.counting import UNKNOWN_MODEL, Counts
from serving.service.descriptions import ModelList
from serving.service.door import Door, stopping
from serving.service.errors import ErrorCode, ServiceError, internal_error, request_fault
from serving.service.inputs import characters, check_inputs, inputs_of, numbered
from serving.service.models import Models, ServedModel
from serving.service.news import News, told
from serving.service.off_loop import off_loop
from serving.service.preparing import OFF_LOOP_CHARACTERS, PreparedInput, Preparing, check_scores
from serving.service.requests import (
    ONE,
    SEVERAL,
    AnswerRequest,
    GenerationParameters,
    SummarizeRequest,
    TaskRequest,
    TranslateRequest,
)
from serving.service.results import GenerateResponse, StreamEvent
from serving.service.side_by_side import all_or_none

Protocol = Literal["http", "grpc"]

TASK_OF: dict[type[TaskRequest], Task] = {
    TranslateRequest: "translation",
    SummarizeRequest: "summarization",
    AnswerRequest: "question-answering",
}

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


class Service:
    """Answers requests with the served models."""

    def __init__(self, models: Models, limits: Limits, metrics: Counts) -> None:
        self._models = models
        self._limits = limits
        self._metrics = metrics
        self.door = Door()

    @property
    def limits(self) -> Limits:
        return self._limits

    async def generate(self, request: TaskRequest, protocol: Protocol) -> GenerateResponse:
        """Answer every input of a request. Raises ServiceError, and nothing else but CancelledError."""
        with self._begun(request, protocol) as model:
            async with asyncio.timeout(self._seconds_left()):
                answering, prepared = await self._prepare(model, request)
                results = await all_or_none(answering.answer(each) for each in prepared)
            return GenerateResponse(model=model.name, results=results)

    async def stream(self, request: TaskRequest, protocol: Protocol) -> AsyncGenerator[StreamEvent]:
        """Texts of a request's inputs as they are generated, and the result of each as its last event.

        Raises what `generate` raises: before the first event whatever is wrong with the request, and later only what goes
        wrong later. Leaving the generator drops the request; `contextlib.aclosing` does so at once.
        """
        with self._begun(request, protocol) as model:

            async def answer(news: News) -> None:
                async def answer_one(place: int, each: PreparedInput) -> None:
                    news.end(place, await answering.answer(each, partial(news.tell, place)))

                async with asyncio.timeout(self._seconds_left()):
                    answering, prepared = await self._prepare(model, request, streamed=True)
                    await all_or_none(answer_one(place, each) for place, each in enumerate(prepared))

            async with aclosing(told(model.name, answer)) as events:
                async for event in events:
                    yield event

    def refuse(self, task: Task, protocol: Protocol, faults: Iterable[Mapping[str, Any]]) -> ServiceError:
        """Count a request whose fields are wrong, and describe the faults that pydantic found."""
        self._metrics.record_request(task, UNKNOWN_MODEL, protocol, ErrorCode.BAD_PARAMETER, 0.0)
        return describe_faults(faults)

    def count_refused(self, task: Task, protocol: Protocol, code: ErrorCode, seconds: float) -> None:
        """Count a request that was refused before it came here."""
        self._metrics.record_request(task, UNKNOWN_MODEL, protocol, code, seconds)

    def check_health(self) -> None:
        """Raises ServiceError (unavailable) when an engine has stopped, or hangs."""
        if faults := self._models.faults():
            why = "; ".join(dict.fromkeys(faults.values()))
            message = f"{', '.join(faults)} cannot answer: {why}. The replica is being replaced"
            raise ServiceError(ErrorCode.UNAVAILABLE, message)

    def check_ready(self) -> None:
        """Raises ServiceError (unavailable) when no request can be answered: for the same reason, or because it stops."""
        self.check_health()
        if self.door.closed:
            raise stopping()

    def models(self) -> ModelList:
        """Every served model."""
        return ModelList(models=self._models.describe())

    def language_pairs(self) -> tuple[tuple[str, str], ...]:
        """Source and target code of what the default translation model translates. Raises ServiceError (unknown_model)."""
        return self._models.choose("translation", None).checked.card.language_pairs

    def best_of(self, task: Task, model: str | None, outputs: int) -> GenerationParameters:
        """Parameters for so many outputs of an input, from as many beams at least. Raises ServiceError (unknown_model)."""
        beams = self._models.choose(task, model).checked.defaults.num_beams
        return GenerationParameters(num_return_sequences=outputs, num_beams=max(beams, outputs))

    def metrics_page(self) -> bytes:
        """Metrics of all replicas in Prometheus' text format."""
        return self._metrics.page()

    @contextmanager
    def _begun(self, request: TaskRequest, protocol: Protocol) -> Iterator[ServedModel]:
        """The model for a request. At the end the request is counted, and what it raised becomes a ServiceError."""
        task = TASK_OF[type(request)]
        started = perf_counter()
        name, outcome = UNKNOWN_MODEL, "cancelled"
        try:
            with self.door.entered(), self._models.chosen(task, request.model) as model:
                name = model.name
                with self._metrics.ongoing(task, name, protocol):
                    yield model
            outcome = "ok"
        except Exception as fault:
            error = self._service_error(fault)
            outcome = error.code
            raise error from None
        finally:
            if (record := current_request()) is not None:
                record.task, record.model, record.outcome = task, name, outcome
            self._metrics.record_request(task, name, protocol, outcome, perf_counter() - started)

    async def _prepare(
        self, model: ServedModel, request: TaskRequest, streamed: bool = False
    ) -> tuple[Answering, list[PreparedInput]]:
        """The inputs as they go to the engine. Raises ServiceError for whatever is wrong with them."""
        inputs = inputs_of(request)
        if (record := current_request()) is not None:
            record.inputs = len(inputs)
        check_inputs(inputs, self._limits.max_inputs, self._limits.max_source_characters)
        limits = self._limits
        preparing = Preparing.of(model, request, limits.max_windows, limits.max_rows, streamed)

        def prepare(index: int, texts: Texts) -> PreparedInput:
            try:
                return preparing.prepare(texts)
            except ServiceError as error:
                raise ServiceError(error.code, numbered(index, inputs, error.message), error.field) from None

        long = sum(map(characters, inputs)) > OFF_LOOP_CHARACTERS
        prepared = []
        for index, texts in enumerate(inputs):
            work = partial(prepare, index, texts)
            prepared.append(await off_loop(work) if long else work())
        check_scores(prepared, model.checked.card.task)
        return Answering(model, self._metrics, limits.max_inputs, preparing.read), prepared

    def _seconds_left(self) -> float:
        limit, record = self._limits.request_timeout_seconds, current_request()
        return limit if record is None else record.seconds_left(limit)

    def _too_late(self) -> str:
        limit, record = self._limits.request_timeout_seconds, current_request()
        if record is not None and record.time_limit is not None and record.time_limit < limit:
            return "no answer within the time that the request gave"
        return f"no answer within the server's limit of {limit:g} seconds"

    def _service_error(self, fault: Exception) -> ServiceError:
        match fault:
            case ServiceError():
                return fault
            case TimeoutError():
                return ServiceError(ErrorCode.TIMEOUT, self._too_late())
            case EngineFull():
                return ServiceError(ErrorCode.OVERLOADED, "too many requests are waiting; repeat this one later")
            case EngineClosed():
                return ServiceError(ErrorCode.UNAVAILABLE, "the server is stopping or restarting; repeat this later")
            case EngineNotOpened():
                return ServiceError(ErrorCode.UNAVAILABLE, str(fault))
            case InvalidRequest():
                return request_fault(fault)
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
        field = field or ("body" if "body" in fault["loc"] else "")
        message = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
        message = {"extra_forbidden": "unknown field", "missing": "is required"}.get(fault["type"], message)
        described.append(f"{field}: {message}" if field else message)
    return ServiceError(ErrorCode.BAD_PARAMETER, "; ".join(described), first)
