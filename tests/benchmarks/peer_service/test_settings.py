"""Which of the peer's settings are tried, and which are taken."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.peer_service import settings as tried_settings
from benchmarks.peer_service.settings import PeerSettings, batchings, best_settings, contenders, splits

ONE, TWO, WORKERS = PeerSettings(1, 1, 2), PeerSettings(1, 2, 1), PeerSettings(2, 1, 1)


def test_cores_are_split_in_every_way_with_every_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tried_settings, "environments", lambda: [{}, {"CT2_FORCE_CPU_ISA": "AVX512"}])
    assert splits(2, quick=True) == [ONE, TWO, WORKERS]
    assert len(splits(2, quick=False)) == 6
    assert splits(1, quick=True) == [PeerSettings(1, 1, 1)]


def test_settings_in_words() -> None:
    assert str(WORKERS) == "2 workers, 1 x 1 threads, batches of 16"
    other = ONE._replace(wait_seconds=0.005, environment=(("CT2_FORCE_CPU_ISA", "AVX512"),))
    assert str(other) == "1 x 2 threads, batches of 16, waits 5 ms, FORCE_CPU_ISA=AVX512"


def test_contenders_carry_about_as_much_as_the_best() -> None:
    throughputs = {ONE: 90.0, TWO: 100.0, WORKERS: 60.0}
    assert contenders(throughputs, 3) == [TWO, ONE]
    assert contenders(throughputs, 1) == [TWO]


def test_each_case_gets_its_own() -> None:
    """Two replicas carry most of the short ones; of their batches, the small one makes nobody wait."""
    started: list[tuple[PeerSettings, tuple[str, ...]]] = []
    rates = []

    def carried(settings: PeerSettings, names: Sequence[str]) -> dict[str, float]:
        started.append((settings, tuple(names)))
        best = {"short": TWO, "long": ONE}
        return {name: 100.0 - 50 * (settings[:3] != best[name][:3]) - settings.max_batch / 10 for name in names}

    def waited(settings: PeerSettings, name: str, rate: float) -> float:
        rates.append(rate)
        return settings.max_batch / 10

    found = best_settings(["short", "long"], carried, waited, cores=2, quick=True)
    assert found["short"].best == TWO._replace(max_batch=4)
    assert found["long"].best == ONE._replace(max_batch=4)
    assert started[:3] == [(each, ("short", "long")) for each in (ONE, TWO, WORKERS)]
    assert (TWO._replace(max_batch=32), ("short",)) in started
    assert set(rates) == {0.7 * 99.6}
    assert TWO in found["short"].throughputs
    assert len(found["short"].latencies) == 2


def test_slow_trials_choose_nothing_else_when_nothing_else_carries_as_much() -> None:
    found = best_settings(
        ["only"],
        lambda settings, names: dict.fromkeys(names, 100.0 if settings == ONE else 1.0),
        lambda *_: pytest.fail("there is one contender"),
        cores=2,
        quick=True,
    )
    assert (found["only"].best, found["only"].latencies) == (ONE, {})


def test_batches_and_waits() -> None:
    assert {each.max_batch for each in batchings(ONE, quick=False)} == {1, 4, 8, 16, 32}
    assert [each.wait_seconds for each in batchings(ONE, quick=False)][-1] > 0
