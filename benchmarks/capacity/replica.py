"""One replica, simulated: an event loop, and an engine whose steps are those of `serving.engine.engine`.

The scheduler is the engine's own, with its limits. A step drops nobody and fails nobody; encoding and decoding take the time
that was measured for as many tokens and rows. Where loop and engine share one core, what the loop computes makes the step in
progress as much longer, for the loop's work is short and the kernel runs it first.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from benchmarks.capacity.costs import EngineCosts, ServiceCosts, Work
from serving.engine.cache_budget import CacheBudget
from serving.engine.errors import EngineFull
from serving.engine.padding import padded_length
from serving.engine.scheduler import Claim, Scheduler
from serving.engine.settings import EngineSettings
from serving.engine.turn import Turn
from serving.service.gate import GateSettings


@dataclass(frozen=True)
class ReplicaSettings:
    """What all replicas have in common."""

    engine: EngineSettings = field(default_factory=EngineSettings)
    max_concurrent_requests: int = GateSettings.max_concurrent_requests
    shared_core: bool = True
    """Whether the event loop has no core of its own."""
    slowness: float = 1.0
    """How much longer everything takes than it was measured, because others compute on the same cores."""


class Replica:
    """Who is inside, how far they are, and until when loop and engine are busy."""

    def __init__(self, costs: EngineCosts, service: ServiceCosts, settings: ReplicaSettings) -> None:
        self.inside = 0
        """Requests that came and are not answered."""
        self.stepping = False
        self._costs = costs
        self._settings = settings
        self._loop_seconds = service.loop / 2 * settings.slowness
        self._loop_free = 0.0
        self._owed = 0.0
        """Seconds that the loop took from the step in progress."""
        self._scheduler = Scheduler(settings.engine, costs.encoder_layers, CacheBudget(settings.engine.max_cache_bytes))
        self._works: dict[int, Work] = {}
        """Waiting, or being encoded."""
        self._encoding: list[int] = []
        self._layers_left = 0
        self._batch: list[tuple[int, deque[int]]] = []
        """Request, and the rows of its steps to come."""
        self._decode_seconds = _table(costs, settings)

    @property
    def full(self) -> bool:
        return self.inside >= self._settings.max_concurrent_requests

    @property
    def has_work(self) -> bool:
        return bool(self._works or self._batch)

    def loop(self, now: float) -> float:
        """Half of a request's work on the event loop, after what is there already; when it is done."""
        self._loop_free = max(now, self._loop_free) + self._loop_seconds
        if self.stepping and self._settings.shared_core:
            self._owed += self._loop_seconds
        return self._loop_free

    def submit(self, request: int, work: Work) -> bool:
        """Queue a request at the engine; False when its queue is full."""
        try:
            self._scheduler.submit(Claim(request, work.claimed_rows, work.source_tokens, work.cache_bytes))
        except EngineFull:
            return False
        self._works[request] = work
        return True

    def step(self, now: float) -> float:
        """Begin a step; when it ends, if the loop takes nothing from it."""
        seconds = self._encode() + self._decode_seconds[sum(rows[0] for _, rows in self._batch)]
        self.stepping = True
        self._owed = max(0.0, self._loop_free - now) if self._settings.shared_core else 0.0
        return now + seconds

    def owed(self) -> float:
        """Seconds by which the step must be longer than was said last; then nothing is owed."""
        owed, self._owed = self._owed, 0.0
        return owed

    def ended(self) -> list[int]:
        """End the step; the requests whose last one it was."""
        self.stepping = False
        finished = []
        for request, rows in self._batch:
            rows.popleft()
            if not rows:
                finished.append(request)
                self._scheduler.release(request)
        if finished:
            self._batch = [(request, rows) for request, rows in self._batch if rows]
        return finished

    def _encode(self) -> float:
        """As the engine does: begin with those who come, run as many layers as others may wait for, join the batch."""
        turn = Turn(rows_wait=bool(self._batch))
        if not self._encoding:
            if not self._scheduler.waiting:
                return 0.0
            self._encoding = self._scheduler.admit(turn)
            self._layers_left = self._costs.encoder_layers
            if not self._encoding:
                return 0.0
        layers = self._scheduler.take_layers(turn)
        works = [self._works[request] for request in self._encoding]
        tokens = len(works) * max(padded_length(work.source_tokens) for work in works)
        self._layers_left -= layers
        if not self._layers_left:
            self._batch += [(request, deque(self._works.pop(request).rows)) for request in self._encoding]
            self._encoding = []
            self._scheduler.encoded()
        return self._costs.encode(tokens * layers / self._costs.encoder_layers) * self._settings.slowness


def _table(costs: EngineCosts, settings: ReplicaSettings) -> list[float]:
    """Seconds of a step by its rows; a step without any only encodes."""
    rows = range(1, settings.engine.max_batch_rows + 1)
    return [0.0, *(costs.decode(each) * settings.slowness for each in rows)]
