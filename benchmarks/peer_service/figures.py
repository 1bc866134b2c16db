"""What the comparison with the peer found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.peer_service.rates import RateSearch, Trial
from benchmarks.peer_service.settings import Tried
from benchmarks.service.counting import Carried
from benchmarks.service.figures import percentiles

OURS, PEER = "dqbart", "CTranslate2"
SIDES = (OURS, PEER)


class Answers(NamedTuple):
    """To each text of a case once, before anything is measured: whether both sides do the same work."""

    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    """Generated for each of them."""

    @property
    def mean_tokens(self) -> float:
        return sum(self.tokens) / len(self.tokens)


class Side(NamedTuple):
    """One service in one case."""

    answers: Answers
    many: Carried
    search: RateSearch
    at_rates: dict[float, Trial]
    """The same rates of both sides."""
    cpu_seconds: float
    """Computed by the service's processes while requests came at those rates."""
    client_share: float
    """Of one core, what the client computed meanwhile."""

    @property
    def cpu_of_a_request(self) -> float:
        """Seconds of a core."""
        answered = sum(len(trial.outcome.latencies) for trial in self.at_rates.values())
        return self.cpu_seconds / max(1, answered)


@dataclass(frozen=True)
class Compared:
    """Both sides in one case."""

    name: str
    sides: dict[str, Side]
    tried: Tried
    """On the peer."""
    limits: tuple[float, ...]
    """Of the 99th percentile, in seconds."""

    @property
    def same_texts(self) -> float:
        """The share of answers that are equal to the character."""
        ours, theirs = (self.sides[side].answers.texts for side in SIDES)
        return sum(map(str.__eq__, ours, theirs)) / len(ours)

    def ratio(self, limit: float) -> float | None:
        """How many times as many requests a second keep a limit; None where the peer does not keep it at all."""
        ours, theirs = (self.sides[side].search.highest(limit) for side in SIDES)
        return ours / theirs if theirs else None

    def as_json(self) -> dict[str, Any]:
        """For programs; seconds, and requests a second."""
        return {
            "case": self.name,
            "peer_settings": str(self.tried.best),
            "peer_throughputs": {str(settings): value for settings, value in self.tried.throughputs.items()},
            "peer_p99": {str(settings): value for settings, value in self.tried.latencies.items()},
            "same_texts": self.same_texts,
            "at_equal_p99": [
                {
                    "limit": limit,
                    **{name: side.search.highest(limit) for name, side in self.sides.items()},
                    "ratio": self.ratio(limit),
                }
                for limit in self.limits
            ],
            "sides": {name: _entries(side) for name, side in self.sides.items()},
        }


def _entries(side: Side) -> dict[str, Any]:
    return {
        "tokens_an_answer": side.answers.mean_tokens,
        "many_clients": side.many._asdict(),
        "cpu_seconds_of_a_request": side.cpu_of_a_request,
        "client_share": side.client_share,
        "at_equal_rate": [_trial(trial) for trial in side.at_rates.values()],
        "trials": [_trial(trial) for trial in side.search.trials],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    latencies = list(trial.outcome.latencies)
    return {
        "rate": trial.rate,
        "requests": sum(trial.outcome.codes.values()),
        **percentiles(latencies),
        "failures": trial.outcome.failures,
    }
