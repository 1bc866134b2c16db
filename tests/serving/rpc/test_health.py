"""Watchers share one look at the health, and each learns of every change."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from grpc_health.v1 import health_pb2

from serving.observability.metrics import Metrics
from serving.rpc import health
from serving.rpc.health import Health
from serving.service.models import Models
from serving.service.service import Limits, Service

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Watched(Service):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__(Models(), Limits(1, 10, 1, 1, 60.0), Metrics())
        self.asked = 0

    def check_ready(self) -> None:
        self.asked += 1
        super().check_ready()


def test_every_watcher_learns_of_a_change_by_one_look_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "WATCH_SECONDS", 0.005)
    service = Watched()

    async def watch() -> None:
        watched = Health(service)
        watches = [watched.watched() for _ in range(100)]
        assert [await anext(each) for each in watches] == [SERVING] * 100
        changes = [asyncio.ensure_future(anext(each)) for each in watches]
        await asyncio.sleep(0)
        before = service.asked
        while service.asked < before + 5:
            await asyncio.sleep(0.001)
        assert service.asked < before + 100
        service.door.close()
        assert await asyncio.gather(*changes) == [NOT_SERVING] * 100
        for each in watches:
            await each.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(watch())


def test_who_leaves_takes_nobody_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "WATCH_SECONDS", 0.005)
    service = Watched()

    async def watch() -> None:
        watched = Health(service)
        async with aclosing(watched.watched()) as first, aclosing(watched.watched()) as second:
            await anext(first)
            await anext(second)
            left, stayed = asyncio.ensure_future(anext(first)), asyncio.ensure_future(anext(second))
            await asyncio.sleep(0.01)
            left.cancel()
            await asyncio.wait([left])
            service.door.close()
            assert await stayed == NOT_SERVING

    asyncio.run(watch())
