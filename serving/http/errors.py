"""The one shape of every error over HTTP, and a text for interfaces of other servers, whose clients show nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from serving.observability.requests import current_request
from serving.service.errors import HTTP_STATUS, ErrorCode, ServiceError
from serving.service.messages import ErrorDetail, ErrorResponse

TEXT_ERROR_PATHS = ("/huggingface/", "/translate", "/languages", "/frontend/", "/detect", "/suggest")
"""What the paths of such interfaces start with."""


class TextErrorResponse(BaseModel):
    """Why a request got no answer: what was wrong and what is accepted."""

    error: str


STATUSES = sorted({*HTTP_STATUS.values(), HTTPStatus.BAD_REQUEST, HTTPStatus.UNSUPPORTED_MEDIA_TYPE})
"""Of what a request with a body may get instead of an answer: the service's, and the transport's own."""

TEXT_ERRORS: dict[int | str, dict[str, Any]] = {status.value: {"model": TextErrorResponse} for status in STATUSES}


def error_response(error: ServiceError) -> JSONResponse:
    """The answer to a request that the service, or what stands before it, refused."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.code == ErrorCode.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    return plain_error(HTTP_STATUS[error.code], error.code, error.message, error.field, headers)


def plain_error(
    status: HTTPStatus, code: str, message: str, field: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error of the transport, whose code is none of the service's."""
    request = current_request()
    if request is not None and request.outcome is None:
        request.outcome = code
    body: BaseModel = ErrorResponse(error=ErrorDetail(code=code, message=message, field=field))
    if request is not None and request.text_errors:
        body = TextErrorResponse(error=message)
    return JSONResponse(body.model_dump(exclude_none=True), status.value, dict(headers or {}))
