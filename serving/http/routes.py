"""The HTTP interface: thin routes over the service, and one shape for every error, FastAPI's own included."""

from __future__ import annotations

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quant.card import Task
from serving.service.errors import HTTP_STATUS, ErrorCode, ServiceError, internal_error
from serving.service.messages import (
    AnswerRequest,
    ErrorDetail,
    ErrorResponse,
    GenerateResponse,
    ModelList,
    SummarizeRequest,
    TranslateRequest,
)
from serving.service.service import Service, describe_faults

TASK_OF_PATH: dict[str, Task] = {
    "/v1/translate": "translation",
    "/v1/summarize": "summarization",
    "/v1/answer": "question-answering",
}

ERRORS: dict[int | str, dict[str, object]] = {
    status.value: {"model": ErrorResponse} for status in sorted(set(HTTP_STATUS.values()))
}

_LOG = logging.getLogger(__name__)


class Health(BaseModel):
    """The body of a healthy answer."""

    status: str = "ok"


def build_app(service: Service) -> FastAPI:
    """The application whose routes ask `service`."""
    app = FastAPI(
        title="dqbart",
        summary="Translation, summarization and question answering with small, quantized seq2seq models.",
        version="1",
    )
    app.add_middleware(_BodyLimit, most=service.limits.max_message_bytes)

    @app.post("/v1/translate", responses=ERRORS, response_model_exclude_none=True, tags=["tasks"])
    async def translate(request: TranslateRequest) -> GenerateResponse:
        """Translate one text or several."""
        return await service.generate(request, "http")

    @app.post("/v1/summarize", responses=ERRORS, response_model_exclude_none=True, tags=["tasks"])
    async def summarize(request: SummarizeRequest) -> GenerateResponse:
        """Summarize one text or several."""
        return await service.generate(request, "http")

    @app.post("/v1/answer", responses=ERRORS, response_model_exclude_none=True, tags=["tasks"])
    async def answer(request: AnswerRequest) -> GenerateResponse:
        """Answer one question or several, each from a context."""
        return await service.generate(request, "http")

    @app.get("/v1/models", response_model_exclude_none=True, tags=["server"])
    async def models() -> ModelList:
        """Which models are served, and how each may be asked."""
        return service.models()

    @app.get("/healthz", tags=["server"], responses={503: {"model": ErrorResponse}})
    async def healthz() -> Health:
        """Whether the server can answer."""
        service.check_health()
        return Health()

    @app.get("/metrics", tags=["server"], response_class=Response)
    async def metrics() -> Response:
        """Metrics of all replicas in Prometheus' text format."""
        return Response(service.metrics_page(), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(ServiceError)
    async def service_error(_: Request, error: ServiceError) -> JSONResponse:
        return _response(error)

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        task = TASK_OF_PATH.get(request.url.path)
        return _response(describe_faults(error.errors()) if task is None else service.refuse(task, "http", error.errors()))

    @app.exception_handler(HTTPException)
    async def transport_error(_: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            most = service.limits.max_message_bytes
            return _response(ServiceError(ErrorCode.TOO_LONG, f"the body is larger than {most} bytes: split it"))
        detail = ErrorDetail(code=status.name.lower(), message=f"{status.description or status.phrase}; see /docs")
        return _json(detail, status, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def unexpected_error(_: Request, error: Exception) -> JSONResponse:
        _LOG.error("a route failed", exc_info=error)
        return _response(internal_error())

    return app


class _BodyLimit:
    """Stops reading a body at `most` bytes. FastAPI's own limit would answer in plain text."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        await self._app(scope, receive_within_limit, send)


def _response(error: ServiceError) -> JSONResponse:
    detail = ErrorDetail(code=error.code, message=error.message, field=error.field)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return _json(detail, HTTP_STATUS[error.code], headers)


def _json(detail: ErrorDetail, status: HTTPStatus, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(ErrorResponse(error=detail).model_dump(exclude_none=True), status.value, headers)
