"""Loads on a service whose processes are on this machine, with what they computed meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.service.load import FIRST_REQUESTS, Load, Outcome
from benchmarks.service.process_tree import cpu_seconds
from benchmarks.service.senders import Target


class Carried(NamedTuple):
    """By many clients."""

    throughput: float
    """Requests a second."""
    cpu_of_a_request: float
    """Seconds of a core that the service's processes computed for each."""


class Service(NamedTuple):
    """One side in one case, that can be asked."""

    target: Target
    pid: int
    send: Callable[[Target, Load], Outcome]

    def run(self, load: Load) -> Outcome:
        return self.run_and_count(load)[0]

    def carried(self, clients: int, seconds: float) -> Carried:
        """So many clients at a time, over whole requests: of a window, calls of many texts fall in or out."""
        outcome, cpu = self.run_and_count(Load(0.0, clients, requests=clients))
        if outcome.seconds < seconds:
            requests = math.ceil(clients * seconds / outcome.seconds)
            outcome, cpu = self.run_and_count(Load(0.0, clients, requests=requests))
        return Carried(outcome.throughput, cpu / max(1, len(outcome.latencies)))

    def run_and_count(self, load: Load) -> tuple[Outcome, float]:
        """And the seconds of a core that the service computed in the window."""
        # Answered when all that was given up before is done, or was dropped.
        self.send(self.target, Load(0.0, 1, requests=1))
        before = cpu_seconds(self.pid)
        outcome = self.send(self.target, load)
        if load.requests is None:
            share = load.seconds / (load.warm_up + load.seconds)
        else:
            share = load.requests / (load.requests + FIRST_REQUESTS)
        return outcome, (cpu_seconds(self.pid) - before) * share
