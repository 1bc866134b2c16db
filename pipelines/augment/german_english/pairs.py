"""A pair of German and English texts that say the same."""

from __future__ import annotations

from typing import NamedTuple


class Pair(NamedTuple):
    """Texts of one meaning. What rewrites a pair returns a new one, or None where the pair gives no occasion for it."""

    german: str
    english: str
