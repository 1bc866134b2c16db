"""The highest rate of requests at which a limit of latency is kept, by trials of one rate each.

Trials are noisy and cost seconds: one trial tells about every limit, and the rates are raised from where a first guess puts
them and then halved in on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.service.load import Outcome, percentile

FIRST, RAISED = 0.8, 1.2
"""Of the throughput that was found before; of the highest rate that was kept."""

LEAST = 1 / 32
"""Of the highest rate that was tried: a limit that is not kept there is not kept at all."""


class Trial(NamedTuple):
    """Requests that came at a rate."""

    rate: float
    outcome: Outcome

    @property
    def p99(self) -> float:
        """Seconds; infinite where more than one request in a hundred was not answered."""
        failed = [math.inf] * sum(self.outcome.failures.values())
        return percentile([*self.outcome.latencies, *failed], 0.99)


class RateSearch:
    """Of one side: which rate to try next, and what the trials say."""

    def __init__(self, limits: Sequence[float], throughput: float, precision: float, tries: int = 1) -> None:
        """`limits` of the 99th percentile, in seconds; rates are found to `precision`, a share of them.

        Where the search ends, a rate counts as missed when it was missed in so many `tries`.
        """
        self.trials: list[Trial] = []
        self._limits, self._throughput = sorted(limits, reverse=True), throughput
        self._precision, self._tries = precision, tries

    def next_rate(self) -> float | None:
        """None when all is known."""
        return next((rate for limit in self._limits if (rate := self._next_for(limit)) is not None), None)

    def record(self, trial: Trial) -> None:
        self.trials.append(trial)

    def highest(self, limit: float) -> float:
        """Requests a second at which the limit was kept, and at all lower ones that were tried; 0 where at none."""
        missed = self._lowest_missed(limit)
        return max((rate for rate in self._kept(limit) if rate < missed), default=0.0)

    def _next_for(self, limit: float) -> float | None:
        highest, missed = self.highest(limit), self._lowest_missed(limit)
        if not math.isfinite(missed):
            return max(FIRST * self._throughput, RAISED * highest)
        least = LEAST * max(trial.rate for trial in self.trials)
        if missed - highest > self._precision * missed and missed > least:
            return (highest + missed) / 2
        # What other programs did in one trial must not end the search.
        return missed if sum(trial.rate == missed for trial in self.trials) < self._tries else None

    def _kept(self, limit: float) -> set[float]:
        return {trial.rate for trial in self.trials if trial.p99 <= limit}

    def _lowest_missed(self, limit: float) -> float:
        return min({trial.rate for trial in self.trials} - self._kept(limit), default=math.inf)
