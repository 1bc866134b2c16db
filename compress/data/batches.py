"""Length-grouped batches: examples of like length share a batch, so that little of it is padding."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compress.data.encoded import Encoded, in_chunks, lengths_of

IGNORED_LABEL = -100
CHUNK = 8192


@dataclass(frozen=True)
class Batch:
    """Padded tensors, int64: sources [batch, source], decoder inputs and labels [batch, target]; masks are boolean."""

    source_ids: Tensor
    source_mask: Tensor
    decoder_ids: Tensor
    labels: Tensor

    @property
    def target_mask(self) -> Tensor:
        return self.labels != IGNORED_LABEL

    @property
    def tokens(self) -> int:
        """Source and target tokens, without padding."""
        return int(self.source_mask.sum() + self.target_mask.sum())

    @property
    def model_inputs(self) -> dict[str, Any]:
        """What an encoder-decoder is called with, teacher-forced."""
        return {
            "input_ids": self.source_ids,
            "attention_mask": self.source_mask.long(),
            "decoder_input_ids": self.decoder_ids,
            "use_cache": False,
        }

    def to(self, device: torch.device) -> Batch:
        return Batch(*(getattr(self, field).to(device, non_blocking=True) for field in self.__dataclass_fields__))


def epoch_batches(examples: Sequence[Encoded], batch_tokens: int, seed: int, epoch: int) -> list[Sequence[int]]:
    """Indices of one epoch's batches, the same for the same seed and epoch.

    Examples are shuffled, sorted by length within chunks of 8,192, cut where a batch would exceed `batch_tokens` padded
    source or target tokens, and the batches are shuffled.
    """
    # One generator an epoch: an interrupted run resumes in the middle of an epoch without replaying earlier ones.
    generator = random.Random(f"{seed}/{epoch}")
    lengths = lengths_of(examples)
    order = array("i", range(len(examples)))  # four bytes an example, where a list has 36
    generator.shuffle(order)
    batches: list[Sequence[int]] = []
    for chunk in in_chunks(len(order), CHUNK):
        indices = np.asarray(order[chunk])
        source, target = lengths[indices].T
        by_length = indices[np.lexsort((target, source))]
        batches += [
            array("i", batch) for batch in _cut(by_length.tolist(), lengths[by_length].max(1).tolist(), batch_tokens)
        ]
    generator.shuffle(batches)
    return batches


def length_batches(examples: Sequence[Encoded], order: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Cut indices, in their order, into batches of at most `batch_tokens` padded tokens (at least one example each)."""
    lengths = lengths_of(examples).max(1)
    return _cut(order, lengths[list(order)].tolist(), batch_tokens)


def collate(examples: Sequence[Encoded], pad_id: int) -> Batch:
    """Pad examples on the right to one batch."""
    sources = _padded([example.source_ids for example in examples], pad_id)
    lengths = torch.tensor([len(example.source_ids) for example in examples])
    return Batch(
        source_ids=sources,
        source_mask=torch.arange(sources.shape[1]) < lengths[:, None],
        decoder_ids=_padded([example.decoder_ids for example in examples], pad_id),
        labels=_padded([example.label_ids for example in examples], IGNORED_LABEL),
    )


def _cut(order: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """`lengths` are of the entries of `order`: of each, the longer of source and target."""
    batches: list[list[int]] = []
    current: list[int] = []
    longest = 0
    for index, length in zip(order, lengths, strict=True):
        longest = max(longest, length)
        if current and longest * (len(current) + 1) > batch_tokens:
            batches.append(current)
            current, longest = [], length
        current.append(index)
    if current:
        batches.append(current)
    return batches


def _padded(rows: Sequence[list[int]], fill: int) -> Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])
