"""What runners and searches exchange, from and to plain lists, which compare and print well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.engine.runner import Candidates, Edits

Pairs = Sequence[tuple[int, int]]
Listed = tuple[list[list[float]], list[list[int]]]


def candidates(values: list[list[float]], tokens: list[list[int]], normalizers: Sequence[float] = ()) -> Candidates:
    """As a runner gives them."""
    shape = len(values), -1
    arrays = np.array(values, np.float32).reshape(shape), np.array(tokens, np.int64).reshape(shape)
    return Candidates(*arrays, np.array(normalizers, np.float32))


def listed(found: Candidates) -> Listed:
    """Values and tokens."""
    return found.values.tolist(), found.tokens.tolist()


def told(found: Sequence[Candidates]) -> list[tuple[Listed, list[float]]]:
    """All that there is of each source, where normalizers were wanted."""
    return [(listed(each), each.normalizers.tolist()) for each in found]


def edits(rows: int, pairs: Pairs) -> Edits | None:
    """Of (row, token)."""
    return Edits.of([sorted({token for place, token in pairs if place == row}) for row in range(rows)]) if pairs else None


def pairs(given: Edits | None) -> list[tuple[int, int]]:
    """(row, token) of edits, in their order."""
    if given is None:
        return []
    return list(zip(np.repeat(np.arange(len(given.counts)), given.counts).tolist(), given.tokens.tolist(), strict=True))
