"""The input cut into parts: stretches of files of so many rows, numbered in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.batch.files import GRAIN, File, Scan

_PARTS, _FEWEST, _MOST = 64, 100, 2000
"""How many parts a run has at least where its rows allow it, so that all actors have some; and rows of a part."""


@dataclass(frozen=True)
class Part:
    """Rows of one file, and where they stand in the whole input."""

    number: int
    file: int
    start: int
    end: int
    first_row: int
    rows: int

    @property
    def name(self) -> str:
        return f"part-{self.number:06}"


def rows_per_part(rows: int, wanted: int | None) -> int:
    """What was asked for, or what suits so many rows; a multiple of GRAIN."""
    each = wanted or min(max(rows // _PARTS, _FEWEST), _MOST)
    return -(-each // GRAIN) * GRAIN


def parts_of(scans: Sequence[Scan], rows_each: int) -> list[Part]:
    """Parts of at most `rows_each` rows, a multiple of GRAIN; none is of two files."""
    step = rows_each // GRAIN
    parts: list[Part] = []
    before = 0
    for file, scan in enumerate(scans):
        for first in range(0, len(scan.places) - 1, step):
            last = min(first + step, len(scan.places) - 1)
            rows = min(rows_each, scan.rows - first * GRAIN)
            row = before + first * GRAIN
            parts.append(Part(len(parts), file, scan.places[first], scan.places[last], row, rows))
        before += scan.rows
    return parts


def input_of(files: Sequence[File], scans: Sequence[Scan]) -> list[dict[str, object]]:
    """What tells an input from another one, for the record of a run."""
    return [
        {"file": file.path.name, "rows": scan.rows, "digest": scan.digest} for file, scan in zip(files, scans, strict=True)
    ]
