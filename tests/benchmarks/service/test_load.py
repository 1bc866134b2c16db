"""Loops of requests against a sender whose answers come when the test says."""

from __future__ import annotations

import asyncio
import math

import pytest

from benchmarks.service.load import ANSWERED, UNFINISHED, Load, Outcome, drive, percentile


class FakeSender:
    """Answers after `seconds`, with the codes in turns."""

    def __init__(self, seconds: float = 0.0, codes: tuple[str, ...] = (ANSWERED,)) -> None:
        self.numbers: list[int] = []
        self.most = 0
        self.closed = False
        self._seconds, self._codes, self._running = seconds, codes, 0

    async def send(self, number: int) -> str:
        self.numbers.append(number)
        self._running += 1
        self.most = max(self.most, self._running)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self._running -= 1
        return self._codes[number % len(self._codes)]

    async def close(self) -> None:
        self.closed = True


def run(sender: FakeSender, load: Load) -> Outcome:
    return asyncio.run(drive(sender, load))


def test_so_many_requests_one_at_a_time() -> None:
    sender = FakeSender()
    outcome = run(sender, Load(0.0, requests=7))
    assert outcome.codes == {ANSWERED: 7}
    assert len(outcome.latencies) == 7
    assert (sender.most, sender.closed) == (1, True)
    assert sender.numbers == list(range(10)), "three before the first that counts"


def test_so_many_clients_at_a_time_in_a_window() -> None:
    sender = FakeSender(0.01)
    outcome = run(sender, Load(0.2, clients=5, warm_up=0.05))
    assert sender.most == 5
    assert 0 < outcome.codes[ANSWERED] < len(sender.numbers), "those of the warm-up do not count"
    assert outcome.throughput == outcome.codes[ANSWERED] / 0.2


def test_errors_are_counted_and_have_no_latency() -> None:
    outcome = run(FakeSender(codes=(ANSWERED, "429")), Load(0.0, requests=8))
    assert outcome.failures == {"429": 4}
    assert len(outcome.latencies) == 4


def test_an_open_loop_waits_for_nobody() -> None:
    sender = FakeSender(seconds=0.3)
    outcome = run(sender, Load(0.5, rate=100, warm_up=0.0))
    assert sender.most > 10
    assert min(outcome.latencies) >= 0.3
    assert 20 < sum(outcome.codes.values()) < 100


def test_latency_counts_from_when_a_request_was_due() -> None:
    class Blocking(FakeSender):
        async def send(self, number: int) -> str:
            if number == 0:
                # Nothing can be sent meanwhile, so that all that is due waits.
                deadline = asyncio.get_running_loop().time() + 0.4
                while asyncio.get_running_loop().time() < deadline:
                    pass
            return ANSWERED

    outcome = run(Blocking(), Load(0.4, rate=200, warm_up=0.0))
    assert outcome.percentile(0.5) > 0.1


def test_requests_that_are_never_answered_are_given_up() -> None:
    outcome = run(FakeSender(seconds=1000), Load(0.1, rate=100, warm_up=0.0, patience=0.0))
    assert outcome.codes.keys() == {UNFINISHED}
    assert outcome.throughput == 0


def test_the_same_seed_draws_the_same_arrivals() -> None:
    counts = {len(run_numbers(seed=3)) for _ in range(2)}
    assert len(counts) == 1


def run_numbers(seed: int) -> list[int]:
    sender = FakeSender()
    run(sender, Load(0.1, rate=300, seed=seed))
    return sender.numbers


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3.0, 1.0, 2.0], 0.5, 2.0), ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0), ([1.0, 2.0], 1.0, 2.0), ([5.0], 0.0, 5.0)],
)
def test_percentiles_by_nearest_rank(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_a_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 0.5))
