from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.batch.files import GRAIN, Scan
from pipelines.batch.parts import parts_of, rows_per_part


def scanned(rows: int) -> Scan:
    return Scan((*range(0, rows, GRAIN), rows) if rows else (0,), rows, "")


@given(st.lists(st.integers(0, 9 * GRAIN), max_size=4), st.integers(1, 5))
def test_every_row_is_in_one_part(rows: list[int], grains: int) -> None:
    parts = parts_of([scanned(each) for each in rows], grains * GRAIN)
    assert [part.number for part in parts] == list(range(len(parts)))
    seen = [part.first_row + row for part in parts for row in range(part.rows)]
    assert seen == list(range(sum(rows)))
    assert all(part.end - part.start == part.rows <= grains * GRAIN for part in parts)


@pytest.mark.parametrize(
    ("rows", "wanted", "each"),
    [(10, None, 100), (100_000, None, 1600), (10_000_000, None, 2000), (10, 1, GRAIN), (10, GRAIN + 1, 2 * GRAIN)],
)
def test_rows_of_a_part(rows: int, wanted: int | None, each: int) -> None:
    assert rows_per_part(rows, wanted) == each
