"""Stands for the context that Ray gives to a call."""

from __future__ import annotations

import grpc
from google.protobuf.message import Message

from serving.rpc.messages import Unread


def unread(message: Message) -> Unread:
    """As Ray hands it over."""
    return Unread(message.SerializeToString())


class Context:
    """Keeps what Ray's context is given."""

    def __init__(self, metadata: dict[str, str] | None = None) -> None:
        self.status: grpc.StatusCode | None = None
        self.details = ""
        self.trailers = [("request_id", "1")]
        self._metadata = metadata or {}

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return list(self._metadata.items())

    def trailing_metadata(self) -> list[tuple[str, str]]:
        return self.trailers

    def code(self) -> grpc.StatusCode | None:
        return self.status

    def set_code(self, code: grpc.StatusCode) -> None:
        self.status = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailers: list[tuple[str, str]]) -> None:
        self.trailers = [("request_id", "1")] + trailers  # noqa: RUF005 -- as Ray does it, which needs a list
