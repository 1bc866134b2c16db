"""Who is encoded next, and how much of it in this step: first come, first served, within limits. It knows no tensors.

A claim waits in a queue, is encoded with others, and then runs until it is released. It holds its rows and bytes from the
start of its encoding on. What is encoded together is in order of arrival, so that similar lengths are not sought out:
that keeps anybody from being overtaken, at the price of some padding.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

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


class Scheduler:
    """A bounded queue, what is being encoded, and the set of running claims."""

    def __init__(self, settings: EngineSettings, encoder_layers: int) -> None:
        self._settings = settings
        self._encoder_layers = encoder_layers
        self._waiting: deque[Claim] = deque()
        self._encoding: list[Claim] = []
        self._layers_left = 0
        self._running: dict[int, Claim] = {}

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
        return sum(claim.cache_bytes for claim in (*self._encoding, *self._running.values()))

    def submit(self, claim: Claim) -> None:
        """Queue a claim. Raises EngineFull at the queue's bound."""
        if len(self._waiting) >= self._settings.max_queued_requests:
            raise EngineFull(f"{len(self._waiting)} requests are queued, max_queued_requests is reached")
        self._waiting.append(claim)

    def withdraw(self, request_id: int) -> bool:
        """Take a claim out of the queue; False when it is not there any more."""
        before = len(self._waiting)
        self._waiting = deque(claim for claim in self._waiting if claim.request_id != request_id)
        return len(self._waiting) < before

    def admit(self, turn: Turn) -> list[int]:
        """Start to encode claims from the queue; their ids in order of arrival, none while others are being encoded, or
        where the turn leaves nothing.

        Nobody overtakes: a claim that does not fit holds up those behind it, so that a wide request cannot starve.
        """
        budget = self._settings.encode_tokens_per_step
        if self._encoding or (turn.rows_wait and turn.encoded_tokens >= budget):
            return []
        rows, cache_bytes, longest = self.rows, self.cache_bytes, 0
        # While rows decode, what is encoded together is what a step encodes: nobody waits for the encoding of those behind.
        most = budget if turn.rows_wait else self._settings.max_encode_tokens
        while self._waiting:
            claim = self._waiting[0]
            rows += claim.rows
            cache_bytes += claim.cache_bytes
            longest = max(longest, padded_length(claim.source_tokens))
            tokens = longest * (len(self._encoding) + 1)
            too_many_tokens = bool(self._encoding) and tokens > most
            too_large = rows > self._settings.max_batch_rows or cache_bytes > self._settings.max_cache_bytes
            if too_large or too_many_tokens:
                break
            self._encoding.append(self._waiting.popleft())
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

    def abandon(self) -> None:
        """Forget what is being encoded."""
        self._encoding = []

    def release(self, request_id: int) -> None:
        """Forget a running claim."""
        del self._running[request_id]
