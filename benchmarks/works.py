"""What is decoded to compare speeds, and the ratio that is asked for."""

from __future__ import annotations

import random
from typing import NamedTuple


class Work(NamedTuple):
    """A number of sources of equal length, decoded together."""

    batch: int
    source_tokens: int
    beams: int

    def __str__(self) -> str:
        decoding = "greedy" if self.beams == 1 else f"beams {self.beams}"
        return f"batch {self.batch}, source {self.source_tokens}, {decoding}"

    def sources(self, vocab_size: int) -> list[list[int]]:
        """Random token ids, the same at every call; the lowest ids are left out, which special tokens have."""
        draw = random.Random(0)
        return [[draw.randrange(10, vocab_size) for _ in range(self.source_tokens)] for _ in range(self.batch)]


TARGETS: dict[Work, dict[str, float]] = {
    Work(1, 128, 1): {"6-1": 3.0, "6-3": 2.5},
    Work(1, 512, 4): {"6-1": 3.0, "6-3": 2.5},
    Work(8, 128, 4): {"6-1": 2.0, "6-3": 2.0},
    Work(32, 128, 1): {"6-1": 2.0, "6-3": 2.0},
}
"""Work → layers of a BART-base-shaped student → how many times as fast as CTranslate2 int8 we want to be."""
