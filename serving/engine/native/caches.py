"""Keys and values of one source in the batch, in memory of its own: freed at once when it leaves, and never moved.

A layer takes memory for its own heads and lies behind the layers before it: each head takes the same, so that a layer's
place follows from the number of heads before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

from serving.engine.native.library import kernels
from serving.engine.runner import Source

ANCESTOR_BYTES = 4


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

    def __init__(self, source: Source, heads: DecoderHeads) -> None:
        self.length = len(source.token_ids)
        self.slots = source.rows
        self.rows = 1
        self.position = -1
        """The last position that was written, by every row."""
        single = Heads(1, heads.width)
        self.head_bytes = source.positions * source.rows * single.record_bytes
        """Of a head's records over the positions of all rows."""
        self._block_bytes = single.block_bytes(self.length)
        self._cross = torch.empty(heads.cross[-1].end * self._block_bytes, dtype=torch.uint8)
        self._own = torch.empty(heads.own[-1].end * self.head_bytes, dtype=torch.uint8)
        self._ancestors = np.zeros((source.rows, source.positions), dtype=np.int32)

    @staticmethod
    def bytes(source: Source, heads: DecoderHeads) -> int:
        """What the caches of a source take."""
        own, single = source.positions * source.rows, Heads(1, heads.width)
        cross_bytes = heads.cross[-1].end * single.block_bytes(len(source.token_ids))
        return cross_bytes + heads.own[-1].end * own * single.record_bytes + ANCESTOR_BYTES * own

    def block_address(self, heads: Heads) -> int:
        """Of the keys and values of the encoded source, in the layer that has these heads."""
        return self._cross.data_ptr() + heads.before * self._block_bytes

    @property
    def records_address(self) -> int:
        return self._own.data_ptr()

    def ancestors_address(self, row: int) -> int:
        return int(self._ancestors.ctypes.data) + row * self._ancestors.strides[0]

    def select(self, parents: Sequence[int]) -> None:
        """Row i continues what row parents[i] has written; only the table of ancestors changes."""
        written = self.position + 1
        self._ancestors[: len(parents), :written] = self._ancestors[list(parents), :written]
        self.rows = len(parents)


@dataclass(frozen=True)
class Span:
    """Queries and the sources whose keys they attend to, as dq_attend takes them. Owns what its addresses point to."""

    blocks: NDArray[np.uint64]
    """[layers, sources]"""
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    """First query of each source, and the end."""
