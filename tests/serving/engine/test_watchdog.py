"""What a step may take, and which time counts."""

from __future__ import annotations

import pytest

from serving.engine import watchdog
from serving.engine.watchdog import Running, Watchdog


def test_a_step_may_take_as_long_as_was_said() -> None:
    watched = Watchdog(10.0)
    with watched.step():
        assert [watched.look(passed) for passed in (4.0, 4.0, 4.0)] == [None] * 3
        assert watched.look(4.0) == 12.0


def test_steps_one_after_another_are_not_one() -> None:
    watched = Watchdog(10.0)
    for _ in range(5):
        with watched.step():
            assert watched.look(1.0) is None
            assert watched.look(6.0) is None
    assert watched.look(60.0) is None
    assert watched.look(60.0) is None


def test_what_was_not_said_grows_with_the_slowest_step() -> None:
    watched = Watchdog(None)
    with watched.step():
        watched.look(1.0)
        assert watched.look(2.0) is None
    assert watched.limit == 60.0
    with watched.step():
        watched.look(1.0)
        assert watched.look(50.0) is None
    watched.look(1.0)
    assert watched.limit == 1000.0
    with watched.step():
        watched.look(1.0)
        assert watched.look(999.0) is None
        assert watched.look(2.0) == 1001.0


def test_time_in_which_this_process_stood_still_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that comes an hour late, after a signal or on a machine that slept, counts as two ticks."""
    times = iter([100.0, 101.0, 102.5, 3702.5, 3703.5])
    monkeypatch.setattr(watchdog, "monotonic", lambda: next(times))
    running = Running(1.0)
    assert [running.passed() for _ in range(4)] == [1.0, 1.5, 2.0, 1.0]
