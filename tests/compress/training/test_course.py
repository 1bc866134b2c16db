from datetime import UTC, datetime

import pytest

from compress.training.course import Course
from compress.training.loop import StepReport


def report(step: int, tokens: int, seconds: float) -> StepReport:
    return StepReport(step, 100, {"total": 1.0}, 1e-3, tokens, seconds)


def test_the_speed_is_that_of_all_reports_together() -> None:
    course = Course()
    course.report(report(20, 1_000, 2.0))
    course.report(report(40, 3_000, 8.0))
    record = course.record()
    assert (record["steps"], record["tokens"], record["seconds"], record["tokens_per_second"]) == (40, 4_000, 10.0, 400)


def test_a_run_of_two_parts_counts_as_one() -> None:
    first, second = Course(), Course()
    first.report(report(20, 1_000, 2.0))
    first.best(20, {"BLEU": 12.3456})
    second.resume(first.record())
    second.report(report(40, 1_000, 4.0))
    record = second.record()
    assert record["started"] == first.record()["started"]
    assert record["best"] == {"step": 20, "scores": {"BLEU": 12.346}}
    assert (record["steps"], record["tokens"], record["seconds"]) == (40, 2_000, 6.0)


def test_the_processor_s_time_is_that_of_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    # user, system, and both of children, as `os.times` has them before the time of day
    times = [(1.0, 0.5, 0.0, 0.0, 9.0), (4.0, 1.0, 2.0, 0.5, 9.0), (10.0, 0.0, 0.0, 0.0, 9.0), (11.0, 0.0, 0.0, 0.0, 9.0)]
    monkeypatch.setattr("compress.training.course.os.times", lambda: times.pop(0))
    first = Course().record()
    assert first["cpu_seconds"] == 6.0
    second = Course()
    second.resume(first)
    assert second.record()["cpu_seconds"] == 7.0


def test_a_best_before_the_first_report_has_been_trained(tmp_path) -> None:
    course = Course()
    course.best(5, {"BLEU": 1.0})
    assert course.record()["steps"] == 5
    assert course.record()["tokens_per_second"] is None


def test_times_are_in_utc_and_an_end_is_only_there_when_reached() -> None:
    course = Course()
    assert course.record()["finished"] is None
    course.finish()
    times = [datetime.fromisoformat(course.record()[name]) for name in ("started", "finished")]
    assert all(time.tzinfo == UTC for time in times)
    assert (times[1] - times[0]).total_seconds() == pytest.approx(0, abs=2)
