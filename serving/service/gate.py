"""What every request passes before it is looked at, whichever its protocol: its key, and a place among those at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
    max_payload_bytes: int = 20 << 20


class Gate:
    """One replica's. Used from one event loop only."""

    def __init__(self, settings: GateSettings | None = None, tracing: Tracing = no_tracing) -> None:
        self.settings = settings or GateSettings()
        self.access = Access(self.settings.keys)
        self.tracing = tracing
        self._at_work = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds one of the places. Raises ServiceError (overloaded) at once when there is none: nobody waits for one."""
        most = self.settings.max_concurrent_requests
        if self._at_work >= most:
            message = f"{most} requests are being answered, and no more are accepted at a time; repeat this one later"
            raise ServiceError(ErrorCode.OVERLOADED, message)
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
