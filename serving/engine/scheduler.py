"""Who is encoded next, and how much of it in this step: first come, first served, within limits. It knows no tensors.

A claim waits in a queue, is encoded with others, and then runs until it is released, or set back to the place in the queue
that its arrival gives it. It holds its rows and bytes from the start of its encoding on; bytes are those of a budget that
engines share (cache_budget.py). What is encoded together is in order of arrival, so that similar lengths are not sought out:
that keeps anybody from being overtaken, at the price of some padding.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass

from serving.engine.cache_budget import CacheBudget
from serving.engine.errors import EngineFull
from serving.engine.padding import padded_length
from serving.engine.settings import EngineSettings
from serving.engine.turn import Turn


@dataclass(frozen=True)
class Claim:
    """What a request takes while it runs; filled by the engine."""

    request_id: int
    rows: int
    source_tokens: int
    cache_bytes: int
    """Claimed when its encoding starts."""
    next_bytes: int = 0
    """Claimed when it grows next."""


class Scheduler:
    """A bounded queue, what is being encoded, and the set of running claims."""

    def __init__(self, settings: EngineSettings, encoder_layers: int, budget: CacheBudget) -> None:
        self._settings = settings
        self._encoder_layers = encoder_layers
        self._share = budget.share()
        self._arrivals: dict[int, int] = {}
        """By request, of all claims that are here."""
        self._waiting: list[Claim] = []
        """In order of arrival."""
        self._encoding: list[Claim] = []
        self._layers_left = 0
        self._running: dict[int, Claim] = {}
        self.set_back_requests = 0
        """How often a request was set back."""

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def admitted(self) -> int:
        """Claims being encoded or running."""
        return len(self._encoding) + len(self._running)

    @property
    def rows(self) -> int:
        """Rows claimed by what is admitted."""
        return sum(claim.rows for claim in (*self._encoding, *self._running.values()))

    @property
    def cache_bytes(self) -> int:
        """Bytes claimed by what is admitted."""
        return self._share.claimed

    def submit(self, claim: Claim) -> None:
        """Queue a claim. Raises EngineFull at the queue's bound."""
        if len(self._waiting) >= self._settings.max_queued_requests:
            raise EngineFull(f"{len(self._waiting)} requests are queued, max_queued_requests is reached")
        self._arrivals[claim.request_id] = self._share.arrive()
        self._waiting.append(claim)

    def withdraw(self, request_id: int) -> bool:
        """Take a claim out of the queue; False when it is not there any more."""
        kept = [claim for claim in self._waiting if claim.request_id != request_id]
        if len(kept) == len(self._waiting):
            return False
        if self._waiting[0].request_id == request_id:
            # Whether the next one has to wait for memory is seen when it is its turn.
            self._share.wait(None)
        self._waiting = kept
        del self._arrivals[request_id]
        return True

    def admit(self, turn: Turn) -> list[int]:
        """Start to encode claims from the queue; their ids in order of arrival, none while others are being encoded, or
        where the turn leaves nothing.

        Nobody overtakes: a claim that does not fit holds up those behind it, so that a wide request cannot starve.
        """
        budget = self._settings.encode_tokens_per_step
        if self._encoding or (turn.rows_wait and turn.encoded_tokens >= budget):
            return []
        rows, longest = self.rows, 0
        # While rows decode, what is encoded together is what a step encodes: nobody waits for the encoding of those behind.
        most = budget if turn.rows_wait else self._settings.max_encode_tokens
        for claim in self._waiting:
            rows += claim.rows
            longest = max(longest, padded_length(claim.source_tokens))
            tokens = longest * (len(self._encoding) + 1)
            if rows > self._settings.max_batch_rows or (self._encoding and tokens > most):
                self._share.wait(None)
                break
            if not self._share.admit(self._arrivals[claim.request_id], claim.cache_bytes, claim.next_bytes):
                break
            self._encoding.append(claim)
        del self._waiting[: len(self._encoding)]
        self._layers_left = self._encoder_layers
        return [claim.request_id for claim in self._encoding]

    def take_layers(self, turn: Turn) -> int:
        """How many of the encoder's layers to run now, by what the turn leaves; none may be among its answers."""
        tokens = len(self._encoding) * max(padded_length(claim.source_tokens) for claim in self._encoding)
        layers = turn.layers(self._layers_left, tokens, self._encoder_layers, self._settings.encode_tokens_per_step)
        self._layers_left -= layers
        return layers

    def encoded(self) -> None:
        """What was being encoded runs from now on."""
        self._running |= {claim.request_id: claim for claim in self._encoding}
        self._encoding = []

    def release(self, request_id: int) -> None:
        """Forget a claim that is running or being encoded."""
        self._leave(request_id)
        self._forget(request_id)

    def by_arrival(self, request_ids: Iterable[int]) -> list[int]:
        """The earliest first."""
        return sorted(request_ids, key=self._arrivals.__getitem__)

    def grow(self, request_id: int, next_bytes: int) -> bool:
        """Claim what a running claim was to claim next, `next_bytes` coming after it. False when there is no room: then who
        came last, at any engine of the budget, gives way first, maybe this one."""
        return self._share.grow(self._arrivals[request_id], next_bytes)

    def giving_way(self) -> list[int]:
        """Admitted claims that must be set back."""
        if not self._share.giving_way:
            return []
        admitted = (*self._encoding, *self._running.values())
        return [claim.request_id for claim in admitted if self._arrivals[claim.request_id] in self._share.giving_way]

    def set_back(self, claim: Claim) -> None:
        """Return an admitted claim to the queue, to where its arrival places it, whether or not the queue is full; it will
        claim what it says now."""
        self._leave(claim.request_id)
        self._share.release(self._arrivals[claim.request_id])
        insort(self._waiting, claim, key=self._arrival)
        self._share.wait(self._arrival(self._waiting[0]))
        self.set_back_requests += 1

    def keep(self, spare_bytes: int) -> int:
        """How many of the bytes that the engine keeps for requests to come it may keep."""
        return self._share.keep(spare_bytes)

    def close(self) -> None:
        """Forget everything."""
        self._waiting, self._encoding, self._running, self._arrivals = [], [], {}, {}
        self._share.close()

    def _arrival(self, claim: Claim) -> int:
        return self._arrivals[claim.request_id]

    def _leave(self, request_id: int) -> None:
        if self._running.pop(request_id, None) is None:
            self._encoding = [claim for claim in self._encoding if claim.request_id != request_id]

    def _forget(self, request_id: int) -> None:
        self._share.release(self._arrivals.pop(request_id))
