"""The reference runner: the batch's caches as tensors, and plain PyTorch operations on them.

What is being encoded is kept apart until its last layer has run; then it joins the caches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from quant.layout import Architecture
from quant.numerics import SOFTMAX_BLOCK
from serving.engine.padding import padded_length
from serving.engine.pytorch.cache import BeamGroups
from serving.engine.pytorch.candidates import select_candidates
from serving.engine.pytorch.encoding import Encoding
from serving.engine.pytorch.model import Model
from serving.engine.runner import Candidates, Source, Wanted


class PyTorchRunner:
    """Encodes, decodes and keeps the caches of one batch; not thread-safe."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._rows: list[int] = []
        """Of each source."""
        self._encoding: Encoding | None = None
        self.clear()

    @property
    def architecture(self) -> Architecture:
        return self.model.architecture

    @property
    def rows(self) -> int:
        return sum(self._rows)

    @property
    def page_positions(self) -> int:
        return SOFTMAX_BLOCK

    def cache_bytes(self, source: Source, positions: int) -> int:
        """Codes and scales of the source's keys and values, and of its rows'; padding to longer batchmates comes on top."""
        cross = sum(self.model.cross_heads) * padded_length(len(source.token_ids))
        own = sum(self.model.own_heads) * source.rows * padded_length(positions)
        code_bytes = self.model.head_width * self.model.arithmetic.cache_dtype.itemsize
        return 2 * (cross + own) * (code_bytes + torch.float32.itemsize)

    spare_bytes = 0

    def trim(self, most: int) -> None:
        """Nothing is kept."""

    @torch.inference_mode()
    def begin(self, sources: Sequence[Source]) -> None:
        self._encoding = Encoding(self.model, [source.token_ids for source in sources])

    @torch.inference_mode()
    def encode(self, layers: int) -> bool:
        encoding = self._encoding
        if encoding is None:
            raise RuntimeError("nothing is being encoded")
        if not encoding.run(layers):
            return False
        lengths = encoding.lengths.tolist()
        self._cross.join(lengths)
        self.model.write_cross(encoding.hidden, self._cross)
        self._own.join([0] * len(lengths))
        self._rows += [1] * len(lengths)
        self._encoding = None
        return True

    def abandon(self) -> None:
        self._encoding = None

    @torch.inference_mode()
    def decode(self, tokens: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
        self._own.extend()
        logits = self.model.decode(torch.tensor(tokens), self._own, self._cross, BeamGroups(self._rows))
        return select_candidates(logits, self._rows, wanted)

    @torch.inference_mode()
    def select(self, parents: Sequence[Sequence[int]]) -> None:
        starts = [sum(self._rows[:source]) for source in range(len(self._rows))]
        self._own.select([start + row for start, rows in zip(starts, parents, strict=True) for row in rows])
        self._cross.select([source for source, rows in enumerate(parents) if rows])
        self._rows = [len(rows) for rows in parents if rows]

    def clear(self) -> None:
        self._own = self.model.new_cache(self.model.own_heads)
        self._cross = self.model.new_cache(self.model.cross_heads)
        self._rows = []
        self._encoding = None
