"""The HTTP interface: thin routes over the service, and one shape for every error, FastAPI's own included."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from quant.card import Task
from serving.http import huggingface, libretranslate
from serving.http.bodies import strict_json_route
from serving.http.errors import STATUSES, error_response, plain_error
from serving.http.event_stream import DESCRIBED, streamed
from serving.http.guard import Guard, KeyPlace
from serving.http.page.page import page_router
from serving.service.descriptions import ModelList
from serving.service.errors import ServiceError, internal_error
from serving.service.gate import Gate
from serving.service.messages import ErrorResponse
from serving.service.requests import AnswerRequest, SummarizeRequest, TaskRequest, TranslateRequest
from serving.service.results import GenerateResponse
from serving.service.service import Service, describe_faults

TASK_OF_PATH: dict[str, Task] = {
    "/v1/translate": "translation",
    "/v1/summarize": "summarization",
    "/v1/answer": "question-answering",
    **huggingface.TASK_OF_PATH,
    **libretranslate.TASK_OF_PATH,
}

KEYS: dict[str, KeyPlace] = {"/translate": "body", "/languages": "none", "/frontend/settings": "none"}
"""LibreTranslate's clients send their key in the body or the query, and none at all for the languages and settings."""

ERRORS: dict[int | str, dict[str, object]] = {status.value: {"model": ErrorResponse} for status in STATUSES}

TASK_ROUTE: dict[str, Any] = {
    "responses": {**DESCRIBED, **ERRORS},
    "response_model_exclude_none": True,
    "tags": ["tasks"],
}

_LOG = logging.getLogger(__name__)


class Health(BaseModel):
    """The body of a healthy answer."""

    status: str = "ok"


def build_app(service: Service, gate: Gate | None = None) -> FastAPI:
    """The application whose routes ask `service`, and what stands before them."""
    gate = gate or Gate()
    app = FastAPI(
        title="dqbart",
        summary="Translation, summarization and question answering with small, quantized seq2seq models.",
        version="1",
        docs_url=None,
        redoc_url=None,
    )
    app.router.route_class = strict_json_route(service.limits.max_source_characters)
    app.add_middleware(Guard, gate=gate, service=service, tasks=TASK_OF_PATH, keys=KEYS)

    @app.post("/v1/translate", response_model=GenerateResponse, **TASK_ROUTE)
    async def translate(request: TranslateRequest) -> GenerateResponse | EventSourceResponse:
        """Translate one text or several."""
        return await answered(service, request)

    @app.post("/v1/summarize", response_model=GenerateResponse, **TASK_ROUTE)
    async def summarize(request: SummarizeRequest) -> GenerateResponse | EventSourceResponse:
        """Summarize one text or several."""
        return await answered(service, request)

    @app.post("/v1/answer", response_model=GenerateResponse, **TASK_ROUTE)
    async def answer(request: AnswerRequest) -> GenerateResponse | EventSourceResponse:
        """Answer one question or several, each from a context."""
        return await answered(service, request)

    @app.get("/v1/models", response_model_exclude_none=True, tags=["server"])
    async def models() -> ModelList:
        """Which models are served, and how each may be asked."""
        return service.models()

    @app.get("/livez", tags=["server"], responses={503: {"model": ErrorResponse}})
    async def livez() -> Health:
        """Whether the server works, also while it stops: else it is to be started anew."""
        service.check_health()
        return Health()

    @app.get("/readyz", tags=["server"], responses={503: {"model": ErrorResponse}})
    @app.get("/healthz", tags=["server"], responses={503: {"model": ErrorResponse}})
    async def readyz() -> Health:
        """Whether the server takes requests: it works, and does not stop."""
        service.check_ready()
        return Health()

    @app.get("/metrics", tags=["server"], response_class=Response)
    def metrics() -> Response:
        """Metrics of all replicas in Prometheus' text format."""
        # Not async, and so on a thread: it reads files, and another replica may be reading them.
        return Response(service.metrics_page(), media_type=CONTENT_TYPE_LATEST)

    app.include_router(huggingface.router(service))
    app.include_router(libretranslate.router(service, gate.access.restricted))
    # Last, for routes are tried in their order: the tasks' come first.
    app.include_router(page_router())

    @app.exception_handler(ServiceError)
    async def service_error(_: Request, error: ServiceError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        task = TASK_OF_PATH.get(request.url.path)
        faults = error.errors()
        return error_response(describe_faults(faults) if task is None else service.refuse(task, "http", faults))

    @app.exception_handler(HTTPException)
    async def transport_error(_: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        said = error.detail != status.phrase
        message = error.detail if said else f"{status.description or status.phrase}; see /docs"
        return plain_error(status, status.name.lower(), message, headers=error.headers)

    @app.exception_handler(Exception)
    async def unexpected_error(_: Request, error: Exception) -> JSONResponse:
        _LOG.error("a route failed", exc_info=error)
        return error_response(internal_error())

    return app


async def answered(service: Service, request: TaskRequest) -> GenerateResponse | EventSourceResponse:
    """The answer to a request, whole or as a stream. Raises ServiceError."""
    return await (streamed(service.stream(request, "http")) if request.stream else service.generate(request, "http"))
