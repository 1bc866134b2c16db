"""Timing several contestants fairly on a machine whose speed drifts: in turns, in one run, compared by medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from benchmarks.works import Work

Name = TypeVar("Name")


class Times(NamedTuple):
    """Of one work by one contestant; medians over the rounds."""

    seconds: float
    """All of it."""
    first_seconds: float
    """The same work with one new token: encoding and one step."""
    steps: int
    """Decode steps in `seconds`."""

    @property
    def step_seconds(self) -> float:
        """A decode step, on average: what the steps after the first take more."""
        return (self.seconds - self.first_seconds) / (self.steps - 1)

    @property
    def encode_seconds(self) -> float:
        """Encoding, and what else a request costs once."""
        return self.first_seconds - self.step_seconds


Timed = Callable[[Work, int], float]
"""Seconds that a contestant takes for a work with so many new tokens."""


def alternate(runs: Mapping[Name, Callable[[], float]], rounds: int) -> dict[Name, float]:
    """Median seconds of each, after one run of each that does not count."""
    seconds: dict[Name, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            measured = run()
            if number:
                seconds[name].append(measured)
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure(contestants: Sequence[Timed], work: Work, new_tokens: int, rounds: int) -> list[Times]:
    """The times of each contestant; `new_tokens` is at least 2."""
    runs = {
        (place, tokens): (lambda timed=timed, tokens=tokens: timed(work, tokens))
        for tokens in (new_tokens, 1)
        for place, timed in enumerate(contestants)
    }
    medians = alternate(runs, rounds)
    return [Times(medians[place, new_tokens], medians[place, 1], steps=new_tokens) for place in range(len(contestants))]


def fastest(contestants: Mapping[Name, Timed], work: Work, new_tokens: int, tries: int = 2) -> Name:
    """The name of the quickest in a short trial: of each the best of some runs after one that does not count."""
    best = {name: min([timed(work, new_tokens) for _ in range(tries + 1)][1:]) for name, timed in contestants.items()}
    return min(best, key=lambda name: best[name])
