"""Sources on their way through the encoder, a slice of layers at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from serving.engine.padding import padded_length
from serving.engine.pytorch.cache import key_mask
from serving.engine.pytorch.model import Model


class Encoding:
    """Sources that are encoded together, padded to one length; each as if it were alone."""

    def __init__(self, model: Model, sources: Sequence[Sequence[int]], device: torch.device | None = None) -> None:
        padded = padded_length(max(map(len, sources)))
        padding = model.architecture.pad_token_id
        ids = [[*source, *[padding] * (padded - len(source))] for source in sources]
        self.lengths = torch.tensor([len(source) for source in sources], device=device)
        self.hidden = model.embed(torch.tensor(ids, device=device))
        """Output of the layers that have run, float32 [sources, padded, d_model]."""
        self._model = model
        self._mask = key_mask(self.lengths, padded)
        self._layers_run = 0

    def run(self, layers: int) -> bool:
        """Run this many more layers, or as many as are left; whether none is."""
        last = min(self._layers_run + layers, self._model.architecture.encoder_layers)
        for layer in range(self._layers_run, last):
            self.hidden = self._model.encode(self.hidden, self._mask, layer)
        self._layers_run = last
        return last == self._model.architecture.encoder_layers
