"""Attention over the keys of sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from serving.engine.native.caches import Heads, Span
from serving.engine.native.library import kernels


class Attend:
    """The queries of a span, prepared once and used in every layer."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._sources = span.lengths.ctypes.data, span.starts.ctypes.data, len(span.lengths)
        self._attend = kernels().dq_attend

    def __call__(self, layer: int, heads: Heads, queries: Tensor, stride: int, out: Tensor) -> None:
        """Queries are the first columns of rows `stride` floats wide; writes the span's rows of `out` [rows, heads * width].

        `heads` are those of the layer.
        """
        blocks = self._span.blocks[layer].ctypes.data
        shape = heads.count, heads.width
        self._attend(blocks, *self._sources, *shape, queries.data_ptr(), stride, heads.scaling, out.data_ptr())


def attend_to_themselves(blocks: Sequence[int], lengths: Sequence[int]) -> Attend:
    """The encoder's attention: each token of each source is a query. `blocks` are addresses, of one layer."""
    starts = np.cumsum([0, *lengths])
    return Attend(Span(np.array([blocks], dtype=np.uint64), np.array(lengths), starts))
