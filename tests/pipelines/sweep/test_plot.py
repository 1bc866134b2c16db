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


def drawn(folder: Path, teacher: Row, rows: list[Row]) -> str:
    write_plots(folder, teacher, rows, "BLEU")
    return (folder / "plot.svg").read_text()


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
    assert "time to make it" not in drawn(tmp_path, teacher, rows)
    for minutes in (0.0, 5.0):
        more = Row("timed", "6-3", "2-4-8", bytes=3_000_000, score=40.0 + minutes / 5, grid_minutes=minutes)
        more.cpu_minutes = 1.0 + minutes
        rows.append(more)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        files.append(drawn(tmp_path / name, teacher, rows))
    assert files[0] == files[1]
    assert "no KL" in files[0]
    assert "failed" not in files[0]
    for text in ("time to make it", "6-3, 0 min", "6-3, 5 min"):
        assert text in files[0]
    assert (tmp_path / "first" / "plot.png").stat().st_size > 10_000
