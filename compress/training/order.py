"""The batches of a run in their order, epoch after epoch, from any place on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

from compress.data.batches import epoch_batches
from compress.data.encoded import Encoded


class Place(NamedTuple):
    """One batch: its epoch, its number in it from 1 on, and its examples."""

    epoch: int
    position: int
    indices: Sequence[int]


class Order:
    """Goes through `compress.data.batches.epoch_batches`; `epoch` and `position` are of the last batch taken."""

    def __init__(self, examples: Sequence[Encoded], batch_tokens: int, seed: int) -> None:
        self._examples = examples
        self._batch_tokens = batch_tokens
        self._seed = seed
        self.go_to(0, 0)

    def __len__(self) -> int:
        """Batches in the epoch."""
        return len(self._batches)

    def go_to(self, epoch: int, position: int) -> None:
        self.epoch, self.position = epoch, position
        self._batches = epoch_batches(self._examples, self._batch_tokens, self._seed, epoch)

    def take(self) -> Place:
        """The next batch."""
        if self.position == len(self._batches):
            self.go_to(self.epoch + 1, 0)
        self.position += 1
        return Place(self.epoch, self.position, self._batches[self.position - 1])

    def ahead(self, count: int) -> list[Place]:
        """The next batches, which are still to be taken."""
        other = copy.copy(self)
        return [other.take() for _ in range(count)]
