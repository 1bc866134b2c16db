"""How many replicas a load needs, what headroom costs, and how latency grows with load: all by simulation.

Every question about a model has the same requests, so that more replicas are compared with fewer, and not one sequence of
arrivals with another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.capacity.costs import EngineCosts, ServiceCosts
from benchmarks.capacity.replica import ReplicaSettings
from benchmarks.capacity.simulation import Arrivals, Simulated, simulate

FULLEST = 0.95
"""Of the most that replicas can do: beyond it queues would grow for longer than is simulated, and a limit seem to hold."""
SLOWEST = 120
"""Requests of each replica at which a simulation ends, however slowly its queues fill. The first half does not count."""
SECONDS, MOST_REQUESTS = 20.0, 60_000
"""For how long requests come in a simulation, at the least, unless that were more requests than these."""
PRECISION = 0.02
"""Of a number of replicas: looking closer would find the noise of the arrivals."""


class Load(NamedTuple):
    """What is asked of the replicas together."""

    rate: float
    """Requests a second."""
    limit: float
    """Seconds within which 99 of 100 are to be answered, and none refused."""


class Answered(NamedTuple):
    """How a number of replicas does; times in seconds."""

    p50: float
    p99: float
    refused: float
    """Share of the requests."""


@dataclass
class Planner:
    """Of one model. Simulations are kept, for several limits ask for the same ones."""

    costs: EngineCosts
    service: ServiceCosts
    settings: ReplicaSettings
    requests: int = 10_000
    """Of a simulation, or more where there are many replicas."""
    seed: int = 0
    _most: float | None = None
    _kept: dict[tuple[float, int], Answered] = field(default_factory=dict)

    def most(self) -> float:
        """Requests a second that one replica answers when there is always another one waiting."""
        if self._most is None:
            # The engine's alone, with the loop's part added: all come at once, and the loop would read them all before.
            free = ServiceCosts(0.0, 0.0)
            count = self.settings.engine.max_queued_requests
            arrivals = Arrivals((0.0,) * count, tuple(number % len(self.costs.works) for number in range(count)))
            # Latencies are times of answers here; the first ones and the last have emptier batches.
            answers = sorted(simulate(self.costs, free, self.settings, 1, arrivals).latencies)
            first, last = len(answers) // 10, len(answers) * 8 // 10
            engine = (answers[last] - answers[first]) / (last - first)
            loop = self.service.loop * self.settings.slowness
            self._most = 1 / (engine + loop if self.settings.shared_core else max(engine, loop))
        return self._most

    def alone(self) -> Answered:
        """When nobody else asks."""
        return self.run(1e-3, 1)

    def run(self, rate: float, replicas: int) -> Answered:
        """Requests at a rate on so many replicas."""
        if (rate, replicas) not in self._kept:
            self._kept[rate, replicas] = self._run(rate, replicas)
        return self._kept[rate, replicas]

    def highest_rate(self, limit: float) -> float | None:
        """Requests a second that one replica answers within the limit; None where it cannot do it for any."""
        if self.alone().p99 > limit:
            return None
        low, high = 0.0, FULLEST * self.most()
        while high - low > PRECISION * high:
            middle = (low + high) / 2
            low, high = (middle, high) if self._holds(Load(middle, limit), 1) else (low, middle)
        return low

    def replicas(self, load: Load) -> int | None:
        """The fewest that hold the limit, to within PRECISION; None where no number does."""
        if self.alone().p99 > load.limit:
            return None
        low, grown = math.ceil(load.rate / (FULLEST * self.most())) - 1, 1
        high = low + 1
        while not self._holds(load, high):
            low, high, grown = high, high + grown, 2 * grown
        while high - low > max(1, int(PRECISION * high)):
            middle = (low + high) // 2
            low, high = (low, middle) if self._holds(load, middle) else (middle, high)
        return high

    def _holds(self, load: Load, replicas: int) -> bool:
        answered = self.run(load.rate, replicas)
        return answered.refused == 0 and answered.p99 <= load.limit

    def suddenly(self, rate: float, replicas: int) -> Answered:
        """Requests at a rate that comes suddenly and stays for SECONDS, also if queues grow all the time."""
        return self._simulated(rate, replicas, int(SECONDS * rate))

    def _run(self, rate: float, replicas: int) -> Answered:
        # The fuller they are, the longer queues take to be as long as they get.
        idle = max(0.0, 1 - rate / (replicas * self.most()))
        each = min(SLOWEST, 15 / idle) if idle else SLOWEST
        count = max(self.requests, each * replicas, min(SECONDS * rate, MOST_REQUESTS))
        return self._simulated(rate, replicas, int(count))

    def _simulated(self, rate: float, replicas: int, count: int) -> Answered:
        arrivals = Arrivals.poisson(rate, count, len(self.costs.works), self.seed)
        begin = arrivals.times[count // 2]
        return answered(simulate(self.costs, self.service, self.settings, replicas, arrivals, begin))


def answered(simulated: Simulated) -> Answered:
    total = len(simulated.latencies) + simulated.refused
    return Answered(simulated.percentile(0.5), simulated.percentile(0.99), simulated.refused / total)


class Needs(NamedTuple):
    """Replicas for one rate, by limit in seconds."""

    rate: float
    replicas: dict[float, int | None]


class Grown(NamedTuple):
    """More requests than were planned for."""

    growth: float
    """1 as planned."""
    answered: Answered
    """By the replicas that were planned."""
    replicas: int
    """That would hold the limit."""


class Headroom(NamedTuple):
    load: Load
    grown: list[Grown]


class Point(NamedTuple):
    """So many replicas, each at a share of the most that it can do."""

    replicas: int
    share: float
    answered: Answered


class Plan(NamedTuple):
    """All that is told of a model."""

    most: float
    alone: Answered
    highest_rates: dict[float, float | None]
    needs: list[Needs]
    headroom: Headroom | None
    """None where no limit can be held."""
    points: list[Point]


GROWTHS = (1.0, 1.1, 1.25, 1.5, 2.0)


def needs_at(planner: Planner, rate: float, limits: tuple[float, ...]) -> Needs:
    return Needs(rate, {limit: planner.replicas(Load(rate, limit)) for limit in limits})


def headroom_at(planner: Planner, rate: float, limits: tuple[float, ...]) -> Headroom | None:
    """For the shortest limit that can be held."""
    for limit in sorted(limits):
        planned = planner.replicas(Load(rate, limit))
        if planned is not None:
            grown = [
                Grown(
                    growth,
                    planner.suddenly(growth * rate, planned),
                    planner.replicas(Load(growth * rate, limit)) or planned,
                )
                for growth in GROWTHS
            ]
            return Headroom(Load(rate, limit), grown)
    return None


def points_at(planner: Planner, replicas: int, shares: tuple[float, ...]) -> list[Point]:
    most = planner.most()
    return [Point(replicas, share, planner.run(share * most * replicas, replicas)) for share in shares]
