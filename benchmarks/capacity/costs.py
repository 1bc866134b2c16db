"""What a model's requests and steps cost one replica, measured once and then read by the simulation."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Line:
    """A function of one number: straight between points, and beyond them as the outermost pieces go."""

    points: tuple[tuple[float, float], ...]
    """In order of their first numbers, which differ. One point alone is a constant."""

    def __call__(self, x: float) -> float:
        if len(self.points) == 1:
            return self.points[0][1]
        place = bisect_right(self.points, x, key=lambda point: point[0])
        right = min(max(place, 1), len(self.points) - 1)
        (x0, y0), (x1, y1) = self.points[right - 1], self.points[right]
        return max(0.0, y0 + (y1 - y0) * (x - x0) / (x1 - x0))


def fit_line(observations: Iterable[tuple[float, float]], edges: Sequence[float], least: int = 5) -> Line:
    """A line through the trimmed means of the observations (x, y) between edges, which never falls.

    Of each piece the highest hundredth of y is left out: a step that lost its core for some milliseconds says nothing of the
    model. Pieces with fewer than `least` observations are left out, unless nothing would be left. Raises ValueError for no
    observations.
    """
    pieces: dict[int, list[tuple[float, float]]] = {}
    for x, y in observations:
        pieces.setdefault(bisect_right(edges, x), []).append((x, y))
    if not pieces:
        raise ValueError("nothing was observed")
    kept = [pieces[place] for place in sorted(pieces) if len(pieces[place]) >= least] or [
        [observation for piece in pieces.values() for observation in piece]
    ]
    points: list[tuple[float, float]] = []
    for piece in kept:
        piece.sort(key=lambda observation: observation[1])
        piece = piece[: math.ceil(0.99 * len(piece))]
        y = statistics.fmean(y for _, y in piece)
        points.append((statistics.fmean(x for x, _ in piece), max(y, points[-1][1] if points else 0.0)))
    return Line(tuple(points))


class Work(NamedTuple):
    """One request as a replica sees it. Its rows do not depend on who shares the batch, so they are measured once."""

    source_tokens: int
    claimed_rows: int
    """Held from the start of its encoding to its end: its beams."""
    cache_bytes: int
    """Held as long: what it claims in the end, for a simulated request does not grow."""
    rows: tuple[int, ...]
    """That each of its steps decodes."""


@dataclass(frozen=True)
class EngineCosts:
    """Of one model on one kind of replica; times in seconds."""

    works: tuple[Work, ...]
    """A sample, from which requests are drawn."""
    encoder_layers: int
    encode: Line
    """Seconds of padded source tokens; of a part of the layers, of as large a part of the tokens."""
    decode: Line
    """Seconds of a step by its rows."""

    def alone(self, work: Work) -> float:
        """Seconds of one request that nobody shares the engine with."""
        return self.encode(work.source_tokens) + sum(self.decode(rows) for rows in work.rows)


class ServiceCosts(NamedTuple):
    """Of one request, beside the engine; in seconds."""

    loop: float
    """That the replica's event loop computes: reading, tokenizing, answering. One request at a time."""
    path: float
    """On the way there and back, which nobody else waits for."""
    outside: float = 0.0
    """That the proxy computes, on whatever core."""
