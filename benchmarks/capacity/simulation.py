"""Requests that come to many replicas, simulated event by event.

    arrivals ─► the replica with the fewest requests inside, the longest unused first (HAProxy's leastconn)
             ─► half of its event loop's work ─► engine: queue, encoding, steps ─► the other half ─► answered

A request is refused where its replica has as many inside as it may, or its engine's queue is full. It is not asked of
another one, as a proxy that retries might.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.capacity.costs import EngineCosts, ServiceCosts
from benchmarks.capacity.replica import Replica, ReplicaSettings
from benchmarks.service.load import percentile

_COMES, _SUBMITTED, _STEPPED, _ANSWERED = range(4)


@dataclass(frozen=True)
class Arrivals:
    """When requests come, and which of the sample each is."""

    times: tuple[float, ...]
    """Seconds, in order."""
    works: tuple[int, ...]

    @classmethod
    def poisson(cls, rate: float, count: int, works: int, seed: int) -> Arrivals:
        """`rate` a second on average, each drawn from as many works."""
        draw = random.Random(seed)
        times, now = [], 0.0
        for _ in range(count):
            now += draw.expovariate(rate)
            times.append(now)
        return cls(tuple(times), tuple(draw.randrange(works) for _ in range(count)))


@dataclass(frozen=True)
class Simulated:
    """What became of the requests that count; times in seconds."""

    latencies: tuple[float, ...]
    """Of those answered, in order of their answers."""
    refused: int
    seconds: float
    """From the first arrival that counts to the last answer."""

    @property
    def throughput(self) -> float:
        """Answered requests a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Of the answered requests, by nearest rank."""
        return percentile(self.latencies, share)


class LeastConnections:
    """Which replica is next: the fewest requests inside, then the one that was chosen the longest ago."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._replicas = replicas
        self._chosen = list(range(-len(replicas), 0))
        self._turn = 0
        self._heap = [(0, chosen, place) for place, chosen in enumerate(self._chosen)]

    def choose(self) -> int:
        while True:
            inside, chosen, place = self._heap[0]
            # Entries that are out of date are replaced when they come up: a replica has one that is right, always.
            if (inside, chosen) == (self._replicas[place].inside, self._chosen[place]):
                break
            heapq.heappop(self._heap)
        self._chosen[place] = self._turn
        self._turn += 1
        return place

    def changed(self, place: int) -> None:
        """The number of requests inside a replica is another one."""
        heapq.heappush(self._heap, (self._replicas[place].inside, self._chosen[place], place))


def simulate(
    costs: EngineCosts,
    service: ServiceCosts,
    settings: ReplicaSettings,
    replicas: int,
    arrivals: Arrivals,
    from_seconds: float = 0.0,
) -> Simulated:
    """Serve all arrivals to their end; those from `from_seconds` on count."""
    servers = [Replica(costs, service, settings) for _ in range(replicas)]
    balance = LeastConnections(servers)
    where: dict[int, int] = {}
    latencies: list[float] = []
    refused, last = 0, 0.0
    # Equal times are served in the order in which they were made; an arrival is made when the one before it comes.
    events: list[tuple[float, int, int, int]] = []
    made = 0

    def make(time: float, kind: int, subject: int) -> None:
        nonlocal made
        heapq.heappush(events, (time, made, kind, subject))
        made += 1

    def leave(request: int) -> None:
        place = where.pop(request)
        servers[place].inside -= 1
        balance.changed(place)

    make(arrivals.times[0], _COMES, 0)
    while events:
        now, _, kind, subject = heapq.heappop(events)
        if kind == _COMES:
            if subject + 1 < len(arrivals.times):
                make(arrivals.times[subject + 1], _COMES, subject + 1)
            place = balance.choose()
            server = servers[place]
            if server.full:
                refused += now >= from_seconds
            else:
                server.inside += 1
                where[subject] = place
                make(server.loop(now), _SUBMITTED, subject)
            balance.changed(place)
        elif kind == _SUBMITTED:
            place = where[subject]
            server = servers[place]
            if not server.submit(subject, costs.works[arrivals.works[subject]]):
                refused += arrivals.times[subject] >= from_seconds
                leave(subject)
            elif not server.stepping:
                make(server.step(now), _STEPPED, place)
        elif kind == _STEPPED:
            server = servers[subject]
            if owed := server.owed():
                make(now + owed, _STEPPED, subject)
                continue
            for request in server.ended():
                make(server.loop(now), _ANSWERED, request)
            if server.has_work:
                make(server.step(now), _STEPPED, subject)
        else:
            leave(subject)
            if arrivals.times[subject] >= from_seconds:
                latencies.append(now - arrivals.times[subject] + service.path)
                last = now
    begin = next((time for time in arrivals.times if time >= from_seconds), 0.0)
    return Simulated(tuple(latencies), refused, max(0.0, last - begin))
