"""Keys and values of one source in the batch, in memory of its own: freed at once when it leaves, and never moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from serving.engine.native.library import kernels
from serving.engine.padding import padded_length
from serving.engine.runner import Source

ANCESTOR_BYTES = 4


@dataclass(frozen=True)
class Heads:
    """Of an attention: their number, and the width of each."""

    count: int
    width: int

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


class SourceCache:
    """The caches of one source: over the encoded source, shared by its rows, and over the positions of each row."""

    def __init__(self, source: Source, layers: int, heads: Heads) -> None:
        self.length = len(source.token_ids)
        self.slots = source.rows
        self.rows = 1
        self.position = -1
        """The last position that was written, by every row."""
        self.layer_bytes = source.positions * source.rows * heads.record_bytes
        self._block_bytes = heads.block_bytes(self.length)
        self._cross = torch.empty(layers * self._block_bytes, dtype=torch.uint8)
        self._own = torch.empty(layers * self.layer_bytes, dtype=torch.uint8)
        self._ancestors = np.zeros((source.rows, source.positions), dtype=np.int32)

    @staticmethod
    def bytes(source: Source, layers: int, heads: Heads) -> int:
        """What the caches of a source take."""
        own = source.positions * source.rows
        cached = heads.block_bytes(len(source.token_ids)) + own * heads.record_bytes
        return layers * cached + ANCESTOR_BYTES * own

    def block_address(self, layer: int) -> int:
        """Of the keys and values of the encoded source."""
        return self._cross.data_ptr() + layer * self._block_bytes

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
    """Queries and the sources whose keys they attend to, as dq_scores takes them. Owns what its addresses point to."""

    blocks: NDArray[np.uint64]
    """[layers, sources]"""
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    """First query of each source, and the end."""

    @property
    def queries(self) -> int:
        return int(self.starts[-1] - self.starts[0])

    @property
    def padded(self) -> int:
        """Keys of every query, padding included."""
        return padded_length(int(self.lengths.max()))
