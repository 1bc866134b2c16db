"""Mean losses between two reports, each over the batches that have it, in all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from compress.training.group import Group


class LossMeans:
    """Adds up losses by name; `names` are all there may be, the same in every process of a group."""

    def __init__(self, names: Sequence[str], group: Group, device: torch.device) -> None:
        self._names = names
        self._group = group
        self._device = device
        self._start()

    def add(self, losses: Mapping[str, Tensor], tokens: int) -> None:
        """A batch of this process, of so many tokens."""
        for name, loss in losses.items():
            self._sums[name] += loss
            self._counts[name] += 1
        self._tokens += tokens

    def take(self) -> tuple[dict[str, float], int]:
        """Means and the number of tokens since the last time, over the group; a loss that no batch had is left out."""
        counted = torch.tensor([*self._counts.values(), self._tokens], dtype=torch.float32, device=self._device)
        figures = torch.cat([torch.stack(list(self._sums.values())), counted])
        self._group.average([figures])
        *figures_of, tokens = figures.tolist()
        sums, counts = figures_of[: len(self._names)], figures_of[len(self._names) :]
        self._start()
        means = {name: total / count for name, total, count in zip(self._names, sums, counts, strict=True) if count}
        return means, round(tokens * self._group.size)

    def _start(self) -> None:
        self._sums = {name: torch.zeros((), device=self._device) for name in self._names}
        self._counts = dict.fromkeys(self._names, 0)
        self._tokens = 0
