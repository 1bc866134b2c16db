"""Who is encoded next: first come, first served, within limits on rows and on source tokens. It knows no tensors."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from serving.engine.errors import EngineFull
from serving.engine.padding import padded_length
from serving.engine.settings import EngineSettings


@dataclass(frozen=True)
class Claim:
    """What a request takes while it runs; filled by the engine."""

    request_id: int
    rows: int
    source_tokens: int


class Scheduler:
    """A bounded queue and the set of running claims."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._waiting: deque[Claim] = deque()
        self._running: dict[int, Claim] = {}

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    def submit(self, claim: Claim) -> None:
        """Queue a claim. Raises EngineFull at the queue's bound."""
        if len(self._waiting) >= self._settings.max_queued_requests:
            raise EngineFull(f"{len(self._waiting)} requests are queued, max_queued_requests is reached")
        self._waiting.append(claim)

    def admit(self) -> list[int]:
        """Move the claims to encode now from the queue to the running set; ids in order of arrival.

        Nobody overtakes: a claim that does not fit holds up those behind it, so that a wide request cannot starve.
        """
        admitted: list[Claim] = []
        rows = sum(claim.rows for claim in self._running.values())
        longest = 0
        while self._waiting:
            claim = self._waiting[0]
            rows += claim.rows
            longest = max(longest, padded_length(claim.source_tokens))
            tokens = longest * (len(admitted) + 1)
            too_many_tokens = bool(admitted) and tokens > self._settings.max_encode_tokens
            if rows > self._settings.max_batch_rows or too_many_tokens:
                break
            admitted.append(self._waiting.popleft())
        self._running |= {claim.request_id: claim for claim in admitted}
        return [claim.request_id for claim in admitted]

    def remove(self, request_id: int) -> None:
        """Forget a claim, wherever it is."""
        if self._running.pop(request_id, None) is None:
            self._waiting = deque(claim for claim in self._waiting if claim.request_id != request_id)
