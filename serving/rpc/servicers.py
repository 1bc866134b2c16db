"""How the services are registered with Ray's gRPC servers: messages come to us unread, for the guard stands before that.

The servers themselves would read them first. And of bytes that are no message they would end the call as UNKNOWN, tell the
client the name of a Python class, and log a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from protos.dqbart.v1 import seq2seq_pb2_grpc
from serving.rpc.messages import Unread


def add_seq2seq(servicer: Any, server: Any) -> None:
    """For Ray, which calls this by its import path."""
    seq2seq_pb2_grpc.add_Seq2SeqServicer_to_server(servicer, _Registrar(server))


def add_health(servicer: Any, server: Any) -> None:
    """Likewise."""
    health_pb2_grpc.add_HealthServicer_to_server(servicer, _Registrar(server))


class _Registrar:
    """What generated code takes for the server."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Nothing: the same ones come once more, by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        unread = {name: handler._replace(request_deserializer=Unread) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, unread),))
        self._server.add_registered_method_handlers(service, unread)
