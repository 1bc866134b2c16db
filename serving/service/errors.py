"""One error type for the whole service, and what HTTP says of it; for gRPC see `serving.rpc.statuses`.

The rule behind both tables: what the client must change in its request is 4xx and INVALID_ARGUMENT, whatever is wrong with
it, except where a status has a well-known meaning of its own (413 for a text that is too long, 404 and NOT_FOUND for a
name that is not served, 401 and UNAUTHENTICATED for a key). What the client may simply repeat is 429, 503 or 504. Clients
that need to tell two kinds apart read the code, which both protocols carry.
"""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus

from quant.errors import Error
from serving.engine.errors import InvalidRequest, SourceTooLong


class ErrorCode(StrEnum):
    """What went wrong, as clients see it."""

    EMPTY_TEXT = "empty_text"
    UNKNOWN_MODEL = "unknown_model"
    WRONG_TASK = "wrong_task"
    UNKNOWN_LANGUAGE = "unknown_language"
    TOO_LONG = "too_long"
    BAD_PARAMETER = "bad_parameter"
    UNAUTHENTICATED = "unauthenticated"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


HTTP_STATUS: dict[ErrorCode, HTTPStatus] = {
    ErrorCode.EMPTY_TEXT: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.UNKNOWN_MODEL: HTTPStatus.NOT_FOUND,
    ErrorCode.WRONG_TASK: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.UNKNOWN_LANGUAGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.TOO_LONG: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.BAD_PARAMETER: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.OVERLOADED: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
    ErrorCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}

RETRY_AFTER_SECONDS = {ErrorCode.OVERLOADED: 1, ErrorCode.UNAVAILABLE: 5}
"""How soon a refused request may be repeated: a queue empties within a second or so, a replica restarts in several."""


class ServiceError(Error):
    """A request that gets no answer. `message` is for the client: what was wrong and what is accepted, nothing internal.

    `field` names the part of the request at fault, where there is one.
    """

    def __init__(self, code: ErrorCode, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field

    @property
    def retry_after(self) -> int | None:
        """Seconds after which the same request may be accepted; None where repeating it is no use."""
        return RETRY_AFTER_SECONDS.get(self.code)


def request_fault(fault: InvalidRequest) -> ServiceError:
    """What the engine has against a request, as the client is told."""
    return ServiceError(ErrorCode.TOO_LONG if isinstance(fault, SourceTooLong) else ErrorCode.BAD_PARAMETER, str(fault))


def internal_error() -> ServiceError:
    """What a client learns of a fault of ours; the log has the rest."""
    return ServiceError(ErrorCode.INTERNAL, "an internal error stopped the request; the server's log says more")


def shown(given: str) -> str:
    """What a client sent, short enough for a message."""
    return repr(given if len(given) <= 40 else given[:40] + "…")
