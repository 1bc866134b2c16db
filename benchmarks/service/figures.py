"""What a bench of the service found."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from benchmarks.service.load import Outcome, percentile

ENGINE = "engine"
"""The side that is no protocol."""

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True)
class Rounds:
    """The same load on one side, several times."""

    outcomes: tuple[Outcome, ...]

    @property
    def latencies(self) -> list[float]:
        return [latency for outcome in self.outcomes for latency in outcome.latencies]

    @property
    def median(self) -> float:
        """Seconds, of the requests of all rounds."""
        return self.percentile(0.5)

    def percentile(self, share: float) -> float:
        """Seconds, of the requests of all rounds."""
        return percentile(self.latencies, share)

    @property
    def throughput(self) -> float:
        """Answered requests a second, in the median round."""
        return statistics.median(outcome.throughput for outcome in self.outcomes)

    @property
    def failures(self) -> dict[str, int]:
        return dict(sum((Counter(outcome.failures) for outcome in self.outcomes), Counter()))

    @property
    def sender_share(self) -> float:
        """Of one core, what the client computed."""
        return sum(outcome.cpu_seconds for outcome in self.outcomes) / sum(outcome.seconds for outcome in self.outcomes)


class Point(NamedTuple):
    """An open loop at one rate."""

    protocol: str
    rate: float
    """Requests a second that came."""
    outcome: Outcome


class Claim(NamedTuple):
    """A figure that something is asked of."""

    what: str
    protocol: str
    engine: float | None
    service: float
    value: float
    relation: Literal["<=", ">="]
    asked: float

    @property
    def met(self) -> bool:
        return self.value <= self.asked if self.relation == "<=" else self.value >= self.asked


@dataclass(frozen=True)
class Figures:
    """All of it; loads by side, which is the engine or a protocol."""

    model: str
    alone: dict[str, Rounds]
    many: dict[str, Rounds]
    empty: dict[str, Rounds]
    """Of the null model; nothing where there was none."""
    points: list[Point]
    claims: list[Claim]

    def as_json(self) -> dict[str, Any]:
        """For programs; seconds, and requests a second."""
        loads = {"one_at_a_time": self.alone, "many_at_a_time": self.many, "null_model": self.empty}
        return {
            "model": self.model,
            "claims": [{**claim._asdict(), "met": claim.met} for claim in self.claims],
            **{name: {side: entries_of(rounds) for side, rounds in sides.items()} for name, sides in loads.items()},
            "rates": [
                {"protocol": point.protocol, "rate": point.rate, **entries_of(Rounds((point.outcome,)))}
                for point in self.points
            ],
        }


def percentiles(latencies: list[float]) -> dict[str, float]:
    """By the names of PERCENTILES, in seconds."""
    return {name: percentile(latencies, share) for name, share in PERCENTILES.items()}


def entries_of(rounds: Rounds) -> dict[str, Any]:
    """A load's figures, for programs."""
    return {
        "throughput": rounds.throughput,
        "rounds": [outcome.throughput for outcome in rounds.outcomes],
        **percentiles(rounds.latencies),
        "failures": rounds.failures,
        "sender_share": rounds.sender_share,
    }
