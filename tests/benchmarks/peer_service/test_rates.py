"""The search against servers whose latency is a formula of the rate."""

from __future__ import annotations

import math

import pytest

from benchmarks.peer_service.rates import RateSearch, Trial
from benchmarks.service.load import ANSWERED, Outcome


def trial(rate: float, p99: float) -> Trial:
    return Trial(rate, Outcome((p99,) * 10, {ANSWERED: 10}, 1.0, 0.0))


def searched(search: RateSearch, capacity: float, alone: float) -> RateSearch:
    """A queue's latency: it grows without limit as the rate comes near what can be carried."""
    while (rate := search.next_rate()) is not None:
        assert len(search.trials) < 40
        search.record(trial(rate, alone / (1 - rate / capacity) if rate < capacity else math.inf))
    return search


@pytest.mark.parametrize("guess", [20.0, 100.0, 300.0])
def test_highest_rates_are_found_whatever_the_first_guess(guess: float) -> None:
    search = searched(RateSearch([0.1, 0.5, 1.0], guess, 0.05), capacity=100.0, alone=0.05)
    for limit, highest in {0.1: 50.0, 0.5: 90.0, 1.0: 95.0}.items():
        assert 0.94 * highest <= search.highest(limit) <= highest


def test_a_limit_that_is_never_kept() -> None:
    search = searched(RateSearch([0.01, 1.0], 100.0, 0.05), capacity=100.0, alone=0.05)
    assert search.highest(0.01) == 0
    assert search.highest(1.0) > 90


def test_trials_that_are_there_already_count() -> None:
    search = RateSearch([0.5], 100.0, 0.05)
    for rate in (88.0, 92.0):
        search.record(trial(rate, 0.05 / (1 - rate / 100)))
    assert search.next_rate() is None
    assert search.highest(0.5) == 88


def test_what_is_kept_above_a_rate_that_was_missed_does_not_count() -> None:
    search = RateSearch([0.5], 100.0, 0.05)
    for rate, p99 in ((40.0, 0.1), (60.0, 0.9), (62.0, 0.4)):
        search.record(trial(rate, p99))
    assert search.highest(0.5) == 40
    assert search.next_rate() == 50


def test_a_rate_that_was_missed_by_chance_is_tried_again() -> None:
    search = RateSearch([0.5], 100.0, 0.05, tries=2)
    search.record(trial(30.0, 9.0))
    searched(search, capacity=100.0, alone=0.05)
    assert 84 < search.highest(0.5) <= 90
    assert sum(each.rate == 30.0 for each in search.trials) == 2
    (missed,) = {each.rate for each in search.trials if each.rate > 90 and each.rate < 95}
    assert sum(each.rate == missed for each in search.trials) == 2


def test_failures_are_latencies_without_end() -> None:
    latencies = tuple(number / 1000 for number in range(1, 200))
    assert Trial(1.0, Outcome(latencies, {ANSWERED: 199, "429": 1}, 1.0, 0.0)).p99 == 0.198
    assert Trial(1.0, Outcome(latencies, {ANSWERED: 199, "429": 3}, 1.0, 0.0)).p99 == math.inf
