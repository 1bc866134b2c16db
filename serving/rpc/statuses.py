"""What gRPC says of each error. Apart from the errors themselves, which settings need that load without grpc."""

from __future__ import annotations

from grpc import StatusCode

from serving.service.errors import ErrorCode

GRPC_STATUS: dict[ErrorCode, StatusCode] = {
    ErrorCode.EMPTY_TEXT: StatusCode.INVALID_ARGUMENT,
    ErrorCode.UNKNOWN_MODEL: StatusCode.NOT_FOUND,
    ErrorCode.WRONG_TASK: StatusCode.INVALID_ARGUMENT,
    ErrorCode.UNKNOWN_LANGUAGE: StatusCode.INVALID_ARGUMENT,
    ErrorCode.TOO_LONG: StatusCode.INVALID_ARGUMENT,
    ErrorCode.BAD_PARAMETER: StatusCode.INVALID_ARGUMENT,
    ErrorCode.UNAUTHENTICATED: StatusCode.UNAUTHENTICATED,
    ErrorCode.OVERLOADED: StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.TIMEOUT: StatusCode.DEADLINE_EXCEEDED,
    ErrorCode.UNAVAILABLE: StatusCode.UNAVAILABLE,
    ErrorCode.INTERNAL: StatusCode.INTERNAL,
}
