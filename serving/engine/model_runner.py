"""Holds the running batch's tensors and runs the model on them. It knows rows and sources, not requests.

The batch is an ordered list of sources, each with one or more rows (its beams), rows lying source after source.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from serving.engine.cache import BeamGroups
from serving.engine.model import Model
from serving.engine.padding import padded_length


class ModelRunner:
    """Encodes, decodes and keeps the caches of one batch; not thread-safe."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.clear()

    def clear(self) -> None:
        """Forget every source."""
        self._own = self.model.new_cache()
        self._cross = self.model.new_cache()
        self._beams: list[int] = []

    @property
    def rows(self) -> int:
        return sum(self._beams)

    @torch.inference_mode()
    def encode(self, sources: Sequence[Sequence[int]]) -> None:
        """Encode sources together and add them at the end of the batch, one row each."""
        lengths = [len(source) for source in sources]
        padded = padded_length(max(lengths))
        padding = self.model.architecture.pad_token_id
        ids = torch.tensor([[*source, *[padding] * (padded - len(source))] for source in sources])
        self._cross.join(lengths)
        self.model.encode(ids, torch.tensor(lengths), self._cross)
        self._own.join([0] * len(sources))
        self._beams += [1] * len(sources)

    @torch.inference_mode()
    def decode(self, tokens: Sequence[int]) -> Tensor:
        """Feed one token to each row; next-token logits, float32 [rows, vocabulary]."""
        self._own.extend()
        return self.model.decode(torch.tensor(tokens), self._own, self._cross, BeamGroups(self._beams))

    @torch.inference_mode()
    def select(self, parents: Sequence[Sequence[int]]) -> None:
        """For each source, which of its rows continue, by their place among its rows; a source without any leaves.

        A row that is named several times continues as several rows.
        """
        starts = [sum(self._beams[:source]) for source in range(len(self._beams))]
        self._own.select([start + row for start, rows in zip(starts, parents, strict=True) for row in rows])
        self._cross.select([source for source, rows in enumerate(parents) if rows])
        self._beams = [len(rows) for rows in parents if rows]
