"""Health as gRPC tells it, and whoever watches it: one look at a time for all watchers, however many they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from grpc_health.v1 import health_pb2

from serving.service.errors import ServiceError
from serving.service.service import Service

WATCH_SECONDS = 0.2
"""How soon a watcher learns that the health has changed."""


class Health:
    """Of one replica. It is for one event loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._watchers = 0
        self._change: asyncio.Task[None] | None = None
        """Ends when the health is another than when it was begun."""

    def status(self) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
        """Now."""
        try:
            self._service.check_ready()
        except ServiceError:
            return health_pb2.HealthCheckResponse.NOT_SERVING
        return health_pb2.HealthCheckResponse.SERVING

    async def watched(self) -> AsyncGenerator[health_pb2.HealthCheckResponse.ServingStatus.ValueType]:
        """Now, and whenever it changes, without an end."""
        self._watchers += 1
        try:
            while True:
                told = self.status()
                yield told
                while self.status() == told:
                    if self._change is None or self._change.done():
                        self._change = asyncio.create_task(self._wait_for_change())
                    await asyncio.wait([self._change])
        finally:
            self._watchers -= 1
            if not self._watchers and self._change is not None:
                self._change.cancel()
                self._change = None

    async def _wait_for_change(self) -> None:
        before = self.status()
        while self.status() == before:
            await asyncio.sleep(WATCH_SECONDS)
