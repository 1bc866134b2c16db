"""What a running service costs beside its engine, and whether the simulation says what the service does.

The simulation gets the very requests that the service got, at the times at which they were due. On a machine that client,
proxy and replicas share, what the first two compute is taken from the replicas: `outside` processor time for each request.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from typing import NamedTuple

import psutil

from benchmarks.capacity.calibration import Calibration
from benchmarks.capacity.costs import ServiceCosts
from benchmarks.capacity.replica import ReplicaSettings
from benchmarks.capacity.simulation import Arrivals, Simulated, simulate
from benchmarks.service.load import Load, Outcome

Send = Callable[[Load], Outcome]
PROXY = "haproxy"


class Compared(NamedTuple):
    """One load on the service and in the simulation; latencies in seconds."""

    model: str
    replicas: int
    rate: float
    """Requests a second that came."""
    measured: Outcome
    simulated: Simulated
    window: float
    """Seconds in which the requests that count were due."""

    def figures(self) -> dict[str, tuple[float, float]]:
        """Name → as measured, as simulated."""
        simulated = len(self.simulated.latencies) / self.window
        return {
            "requests/s": (self.measured.throughput, simulated),
            "p50": (self.measured.percentile(0.5), self.simulated.percentile(0.5)),
            "p99": (self.measured.percentile(0.99), self.simulated.percentile(0.99)),
        }


class LoopCost(NamedTuple):
    """Of a request, in seconds of processor time; found on a model that costs nothing."""

    loop: float
    outside: float
    """Of client and proxy."""


def loop_cost(server: int, send: Send, seconds: float, clients: int = 32) -> LoopCost:
    """What the event loop of the one replica of a server (its process) takes, and what its proxy and the client do.

    With a model that costs nothing the loop is what limits the throughput.
    """
    send(Load(min(seconds, 0.5), clients))
    before = _proxy_seconds(server)
    outcome = send(Load(seconds, clients, warm_up=0.0))
    answered = max(1, outcome.codes.get("ok", 0))
    return LoopCost(seconds / answered, (_proxy_seconds(server) - before + outcome.cpu_seconds) / answered)


def service_costs(calibration: Calibration, cost: LoopCost, send: Send, requests: int) -> ServiceCosts:
    """With the path, from what a request takes when nobody else asks."""
    count = len(calibration.costs.works)
    outcome = send(Load(0.0, 1, requests=max(count, requests)))
    engine = statistics.fmean(calibration.costs.alone(work) for work in calibration.costs.works)
    path = statistics.fmean(outcome.latencies) - engine - cost.loop
    return ServiceCosts(cost.loop, max(0.0, path), cost.outside)


def compare(
    calibration: Calibration, service: ServiceCosts, settings: ReplicaSettings, replicas: int, cores: int, rate: float,
    send: Send, seconds: float,
) -> Compared:  # fmt: skip
    """Send a load at a rate, and simulate the same."""
    load = Load(seconds, rate=rate, warm_up=1.0)
    measured = send(load)
    here = settings_here(settings, service, replicas, cores, rate)
    simulated = simulate(
        calibration.costs, service, here, replicas, arrivals_of(load, rate, len(calibration.costs.works)), load.warm_up
    )
    return Compared(calibration.asked.model, replicas, rate, measured, simulated, seconds)


def settings_here(
    settings: ReplicaSettings, service: ServiceCosts, replicas: int, cores: int, rate: float
) -> ReplicaSettings:
    """Of replicas of one thread each, on a machine of so many cores that has client and proxy on it, too."""
    left = max(0.1, cores - rate * service.outside)
    return ReplicaSettings(
        settings.engine, settings.max_concurrent_requests, cores < 2 * replicas, max(1.0, replicas / left)
    )


def arrivals_of(load: Load, rate: float, works: int) -> Arrivals:
    """When `drive` sends the requests of an open loop, from its beginning, and which they are."""
    draw = random.Random(load.seed)
    times, due = [], 0.0
    while (due := due + draw.expovariate(rate)) < load.warm_up + load.seconds:
        times.append(due)
    return Arrivals(tuple(times), tuple(number % works for number in range(len(times))))


def _proxy_seconds(server: int) -> float:
    """Processor time of the server's proxies until now."""
    seconds = 0.0
    for process in psutil.Process(server).children(recursive=True):
        try:
            if PROXY in process.name():
                seconds += sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
    return seconds
