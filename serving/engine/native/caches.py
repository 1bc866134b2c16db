"""Keys and values of one source in the batch, which are never moved: over the encoded source in memory of its own, over the
positions of its rows in pages, which it takes as it goes on and leaves to others when it ends (pages.py).

A layer takes memory for its own heads and lies behind the layers before it: each head takes the same, so that a layer's
place follows from the number of heads before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

from serving.engine.native.library import kernels
from serving.engine.native.pages import Page, PagePool
from serving.engine.runner import Source

ANCESTOR_BYTES = 4
ADDRESS_BYTES = 8


@dataclass(frozen=True)
class Heads:
    """Of an attention: their number, the width of each, and the number in the layers before, which lie before in a cache."""

    count: int
    width: int
    before: int = 0

    @property
    def end(self) -> int:
        """The number up to this layer, its own included."""
        return self.before + self.count

    @property
    def scaling(self) -> float:
        return float(self.width**-0.5)

    def block_bytes(self, length: int) -> int:
        """Keys and values of an encoded source of this length, in one layer (kernels/attention.cpp)."""
        return int(kernels().dq_block_bytes(length, self.count, self.width))

    @property
    def record_bytes(self) -> int:
        """Keys and values of one decoder position of one row, in one layer (kernels/own_attention.cpp)."""
        return int(kernels().dq_record_bytes(self.count, self.width))


class DecoderHeads:
    """Of the two attentions of a decoder, in each of its layers."""

    def __init__(self, own: Sequence[int], cross: Sequence[int], width: int) -> None:
        self.own = _side_by_side(own, width)
        """Over a row's own positions."""
        self.cross = _side_by_side(cross, width)
        """Over the encoded source."""
        self.width = width


def _side_by_side(counts: Sequence[int], width: int) -> list[Heads]:
    return [Heads(count, width, end - count) for count, end in zip(counts, accumulate(counts), strict=True)]


class SourceCache:
    """The caches of one source: over the encoded source, shared by its rows, and over the positions of each row."""

    def __init__(self, source: Source, heads: DecoderHeads, pool: PagePool) -> None:
        self.length = len(source.token_ids)
        self.slots = source.rows
        self.rows = 1
        self.position = -1
        """The last position that was written, by every row."""
        single = Heads(1, heads.width)
        self.head_bytes = page_positions() * source.rows * single.record_bytes
        """Of a head's records in a page: over its positions, of all rows."""
        self._block_bytes = single.block_bytes(self.length)
        self._cross = torch.empty(heads.cross[-1].end * self._block_bytes, dtype=torch.uint8)
        self._page_bytes = heads.own[-1].end * self.head_bytes
        self._pool = pool
        self._pages: list[Page] = []
        self._addresses = np.zeros(pages_of(source.positions), dtype=np.uint64)
        self._ancestors = np.zeros((source.rows, source.positions), dtype=np.int32)

    @staticmethod
    def bytes(source: Source, positions: int, heads: DecoderHeads) -> int:
        """What the caches of a source take with pages for this many positions."""
        single = Heads(1, heads.width)
        cross = heads.cross[-1].end * single.block_bytes(len(source.token_ids))
        tables = ANCESTOR_BYTES * source.positions * source.rows + ADDRESS_BYTES * pages_of(source.positions)
        records = pages_of(positions) * page_positions() * source.rows
        return cross + tables + heads.own[-1].end * records * single.record_bytes

    def advance(self) -> None:
        """Go to the next position."""
        self.position += 1
        if self.position == len(self._pages) * page_positions():
            page = self._pool.take(self._page_bytes)
            self._addresses[len(self._pages)] = page.ctypes.data
            self._pages.append(page)

    def leave(self) -> None:
        """Leave the pages to others."""
        self._pool.put(self._pages)
        self._pages = []

    def block_address(self, heads: Heads) -> int:
        """Of the keys and values of the encoded source, in the layer that has these heads."""
        return self._cross.data_ptr() + heads.before * self._block_bytes

    @property
    def pages_address(self) -> int:
        """Of the addresses of the pages."""
        return int(self._addresses.ctypes.data)

    def ancestors_address(self, row: int) -> int:
        return int(self._ancestors.ctypes.data) + row * self._ancestors.strides[0]

    def select(self, parents: Sequence[int]) -> None:
        """Row i continues what row parents[i] has written; only the table of ancestors changes."""
        written = self.position + 1
        self._ancestors[: len(parents), :written] = self._ancestors[list(parents), :written]
        self.rows = len(parents)


@cache
def page_positions() -> int:
    """Decoder positions of a page."""
    return int(kernels().dq_page_positions())


def pages_of(positions: int) -> int:
    """Pages that so many positions take."""
    return -(-positions // page_positions())


@dataclass(frozen=True)
class Span:
    """Queries and the sources whose keys they attend to, as dq_attend takes them. Owns what its addresses point to."""

    blocks: NDArray[np.uint64]
    """[layers, sources]"""
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    """First query of each source, and the end."""
