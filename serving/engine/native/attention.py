"""Attention over the keys of sources: the kernels around PyTorch's softmax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from serving.engine.native.buffers import Buffers
from serving.engine.native.caches import Heads, Span
from serving.engine.native.library import kernels
from serving.engine.padding import padded_length

MOST_SCORES = 1 << 18
"""Scores that are computed before they are used: 1 MB stays in the caches of the cores."""


class Attend:
    """The queries of one span, prepared once and used in every layer."""

    def __init__(self, span: Span, buffers: Buffers) -> None:
        self._span = span
        self._buffers = buffers
        self._queries, self._padded = span.queries, span.padded
        self._sources = len(span.lengths)
        self._lengths, self._starts = span.lengths.ctypes.data, span.starts.ctypes.data
        self._kernels = kernels()

    def __call__(self, layer: int, heads: Heads, queries: Tensor, stride: int, out: Tensor) -> None:
        """Queries are the first columns of rows `stride` floats wide; writes the span's rows of `out` [rows, heads * width].

        `heads` are those of the layer.
        """
        blocks = self._span.blocks[layer].ctypes.data
        count, width = heads.count, heads.width
        scores = self._buffers.floats("scores", self._queries * count, self._padded)
        sources = (blocks, self._lengths, self._starts, self._sources, count, width)
        scaling = heads.scaling
        self._kernels.dq_scores(*sources, queries.data_ptr(), stride, scaling, scores.data_ptr(), self._padded)
        torch.softmax(scores, -1, out=scores)
        self._kernels.dq_weigh(*sources, scores.data_ptr(), self._padded, out.data_ptr())


def spans(blocks: Sequence[int], lengths: Sequence[int], heads: Heads) -> list[Span]:
    """The encoder's attention: each token of each source is a query. Neighbours of equal padded length go together, and a
    long source is cut, so that the scores of a span are few. `heads` are those of the layer that has the most."""
    found: list[Span] = []
    group: list[tuple[int, int, int, int]] = []  # block, length, first query, last query

    def close() -> None:
        if group:
            starts = [first for _, _, first, _ in group] + [group[-1][3]]
            addresses = np.array([[block for block, *_ in group]], dtype=np.uint64)
            found.append(Span(addresses, np.array([length for _, length, *_ in group]), np.array(starts)))
            group.clear()

    start = 0
    for block, length in zip(blocks, lengths, strict=True):
        padded = padded_length(length)
        most = max(16, MOST_SCORES // (heads.count * padded))
        if group and (padded_length(group[0][1]) != padded or start + length - group[0][2] > most):
            close()
        for first in range(start, start + length, most):
            group.append((block, length, first, min(first + most, start + length)))
            if length > most:
                close()
        start += length
    close()
    return found
