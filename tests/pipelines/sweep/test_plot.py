from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipelines.sweep.plot import pareto, write_plots
from pipelines.sweep.results import Row


def test_the_front_by_hand() -> None:
    points = [(1.0, 30.0), (2.0, 40.0), (2.0, 35.0), (3.0, 39.0), (4.0, 41.0)]
    assert pareto(points, smaller_is_better=True) == [0, 1, 4]
    assert pareto(points, smaller_is_better=False) == [4]


def test_equals_are_both_on_the_front() -> None:
    assert pareto([(1.0, 1.0), (1.0, 1.0)], smaller_is_better=True) == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_everyone_off_the_front_is_beaten_by_someone_on_it(points: list[tuple[float, float]]) -> None:
    front = pareto(points, smaller_is_better=True)
    for index, (x, y) in enumerate(points):
        beaten = any(points[other][0] <= x and points[other][1] >= y and points[other] != (x, y) for other in front)
        assert beaten == (index not in front)


def test_the_same_results_make_the_same_figure(tmp_path: Path) -> None:
    teacher = Row("teacher", "6-6", "full", bytes=53_000_000, score=42.0, tokens_per_second={"1": 78.0})
    rows = [
        Row(f"{layers} {bits}", layers, bits, bytes=size, score=score, tokens_per_second={"1": speed})
        for layers, bits, size, score, speed in (
            ("6-6", "8-8-8", 13_500_000, 41.9, 690.0),
            ("6-3", "8-8-8", 10_300_000, 41.0, 1400.0),
            ("6-6", "2-2-8", 3_100_000, 41.0, 900.0),
            ("6-3", "2-2-8", 2_400_000, 40.0, 1900.0),
        )
    ]
    rows += [
        Row("no KL", "6-3", "2-2-8", extra=True, bytes=2_400_000, score=38.0),
        Row("failed", "6-1", "2-2-8", error="out of memory"),
    ]
    files = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_plots(tmp_path / name, teacher, rows, "BLEU")
        files.append((tmp_path / name / "plot.svg").read_text())
    assert files[0] == files[1]
    assert "no KL" in files[0]
    assert "failed" not in files[0]
    assert (tmp_path / "first" / "plot.png").stat().st_size > 10_000
