"""Contestants that take as long as they say."""

from __future__ import annotations

import pytest

from benchmarks.alternation import Times, alternate, fastest, measure
from benchmarks.works import Work

WORK = Work(1, 128, 1)


def test_the_first_run_does_not_count_and_runs_alternate() -> None:
    order: list[str] = []
    seconds = {"a": iter([9.0, 1.0, 2.0, 30.0]), "b": iter([9.0, 5.0, 4.0, 6.0])}

    def run(name: str) -> float:
        order.append(name)
        return next(seconds[name])

    assert alternate({"a": lambda: run("a"), "b": lambda: run("b")}, rounds=3) == {"a": 2.0, "b": 5.0}
    assert order == list("abababab")


def test_a_step_is_what_the_steps_after_the_first_take_more() -> None:
    times = Times(seconds=1.0, first_seconds=0.37, steps=64)
    assert times.step_seconds == pytest.approx(0.01)
    assert times.encode_seconds == pytest.approx(0.36)


def test_each_contestant_gets_its_own_times() -> None:
    quick, slow = measure([lambda work, tokens: 1.0 + tokens, lambda work, tokens: 2.0 + 3 * tokens], WORK, 5, rounds=2)
    assert quick == Times(6.0, 2.0, steps=5)
    assert slow == Times(17.0, 5.0, steps=5)
    assert (slow.step_seconds, slow.encode_seconds) == (3.0, 2.0)


def test_the_fastest_is_chosen_by_its_best_run_after_the_first() -> None:
    runs = {"cold": iter([9.0, 2.0, 1.0]), "steady": iter([1.5, 1.5, 1.5]), "lucky": iter([0.1, 3.0, 3.0])}
    assert fastest({name: lambda work, tokens, name=name: next(runs[name]) for name in runs}, WORK, 8) == "cold"
