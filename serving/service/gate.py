"""What every request passes before it is looked at, whichever its protocol: its key, a place among those at work, and room
for what it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from serving.observability.traces import Tracing, no_tracing
from serving.service.access import Access, ApiKey
from serving.service.errors import ErrorCode, ServiceError


@dataclass(frozen=True)
class GateSettings:
    """Filled from the settings."""

    keys: tuple[ApiKey, ...] = ()
    open_health: bool = True
    open_metrics: bool = True
    max_concurrent_requests: int = 512
    max_watchers: int = 512
    max_payload_bytes: int = 20 << 20
    max_payload_bytes_in_flight: int = 128 << 20


Places = Literal["requests", "watchers", "others"]
"""What is bounded each by itself: what has a key and does work, streams that tell of the health, and health, metrics and
pages that anybody may ask for. One kind takes no place of another."""

MAX_OTHERS = 100
"""Answered at once, so that as many are there only if their clients do not take their answers."""

_AT_WORK: dict[Places, str] = {
    "requests": "requests are being answered",
    "watchers": "clients watch the health",
    "others": "requests for health, metrics or pages are being answered",
}


class Gate:
    """One replica's. Used from one event loop only."""

    def __init__(self, settings: GateSettings | None = None, tracing: Tracing = no_tracing) -> None:
        self.settings = settings = settings or GateSettings()
        self.access = Access(self.settings.keys)
        self.tracing = tracing
        self._most: dict[Places, int] = {
            "requests": settings.max_concurrent_requests,
            "watchers": settings.max_watchers,
            "others": MAX_OTHERS,
        }
        self._taken = dict.fromkeys(self._most, 0)
        self._bytes_in_flight = 0

    @contextmanager
    def place(self, kind: Places = "requests") -> Iterator[Place]:
        """Holds one of the places. Raises ServiceError (overloaded) at once when there is none: nobody waits for one."""
        most = self._most[kind]
        if self._taken[kind] >= most:
            message = f"{most} {_AT_WORK[kind]}, and no more are accepted at a time; repeat this one later"
            raise ServiceError(ErrorCode.OVERLOADED, message)
        self._taken[kind] += 1
        place = Place(self._take)
        try:
            yield place
        finally:
            self._taken[kind] -= 1
            self._bytes_in_flight -= place.payload_bytes

    def _take(self, count: int) -> None:
        most = self.settings.max_payload_bytes_in_flight
        if self._bytes_in_flight + count > most:
            message = f"requests of {most} bytes are being answered, and no more are accepted; repeat this one later"
            raise ServiceError(ErrorCode.OVERLOADED, message)
        self._bytes_in_flight += count


class Place:
    """A request's, with what it has sent so far; both are given back when the request has ended."""

    def __init__(self, take: Callable[[int], None]) -> None:
        self._take = take
        self.payload_bytes = 0

    def hold(self, count: int) -> None:
        """So many bytes more. Raises ServiceError (overloaded) when all requests together would hold too many."""
        self._take(count)
        self.payload_bytes += count
