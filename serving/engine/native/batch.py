"""The batch: its sources, and the tables through which the kernels find what each row has cached."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.engine.native.attention import Attend
from serving.engine.native.caches import DecoderHeads, SourceCache, Span

OWN_ROW = np.dtype(
    [
        ("pages", np.uint64),
        ("ancestors", np.uint64),
        ("head_bytes", np.int64),
        ("slots", np.int64),
        ("slot", np.int64),
        ("position", np.int64),
    ]
)
"""A row of the batch as kernels/own_attention.cpp declares it (DqOwnRow)."""


class Batch:
    """Sources in order, each with its rows one after another."""

    def __init__(self, heads: DecoderHeads) -> None:
        self._heads = heads
        self.sources: list[SourceCache] = []
        self._changed = True

    @property
    def rows(self) -> int:
        return sum(source.rows for source in self.sources)

    def join(self, sources: Sequence[SourceCache]) -> None:
        self.sources += sources
        self._changed = True

    def select(self, parents: Sequence[Sequence[int]]) -> None:
        """As the runner's select."""
        for source, kept in zip(self.sources, parents, strict=True):
            if list(kept) != list(range(source.rows)):
                self._changed |= len(kept) != source.rows
                source.select(kept)
        if not all(parents):
            for source in self.sources:
                if not source.rows:
                    source.leave()
            self.sources = [source for source in self.sources if source.rows]

    def advance(self) -> None:
        """Go to the next position of every row; the tables then speak of it."""
        for source in self.sources:
            source.advance()
        if self._changed:
            self._rebuild()
            self._changed = False
        else:
            self._own["position"] += 1
        self.positions[:] = self._own["position"]

    @property
    def own_rows_address(self) -> int:
        return int(self._own.ctypes.data)

    def _rebuild(self) -> None:
        self._own = np.array(
            [
                (
                    source.pages_address,
                    source.ancestors_address(row),
                    source.head_bytes,
                    source.slots,
                    row,
                    source.position,
                )
                for source in self.sources
                for row in range(source.rows)
            ],
            dtype=OWN_ROW,
        )
        self.positions = np.empty(len(self._own), np.int64)
        """[rows]: the position that each row writes in this step."""
        layers = self._heads.cross
        blocks = np.array([[source.block_address(heads) for source in self.sources] for heads in layers], dtype=np.uint64)
        starts = np.cumsum([0, *(source.rows for source in self.sources)])
        lengths = np.array([source.length for source in self.sources])
        self.attend = Attend(Span(blocks, lengths, starts))
        """Every row over its encoded source."""
