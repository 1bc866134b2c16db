"""Length-grouped batches: examples of like length share a batch, so that little of it is padding."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.data.text_format import Encoded

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

    def to(self, device: torch.device) -> Batch:
        return Batch(*(getattr(self, field).to(device, non_blocking=True) for field in self.__dataclass_fields__))


def epoch_batches(examples: Sequence[Encoded], batch_tokens: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices of one epoch's batches, the same for the same seed and epoch.

    Examples are shuffled, sorted by length within chunks of 8,192, cut where a batch would exceed `batch_tokens` padded
    source or target tokens, and the batches are shuffled.
    """
    # One generator an epoch: an interrupted run resumes in the middle of an epoch without replaying earlier ones.
    generator = random.Random(f"{seed}/{epoch}")
    order = list(range(len(examples)))
    generator.shuffle(order)
    batches: list[list[int]] = []
    for start in range(0, len(order), CHUNK):
        chunk = sorted(order[start : start + CHUNK], key=lambda index: _lengths(examples[index]))
        batches += length_batches(examples, chunk, batch_tokens)
    generator.shuffle(batches)
    return batches


def length_batches(examples: Sequence[Encoded], order: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Cut indices, in their order, into batches of at most `batch_tokens` padded tokens (at least one example each)."""
    batches: list[list[int]] = []
    current: list[int] = []
    longest = 0
    for index in order:
        longest = max(longest, *_lengths(examples[index]))
        if current and longest * (len(current) + 1) > batch_tokens:
            batches.append(current)
            current, longest = [], max(_lengths(examples[index]))
        current.append(index)
    if current:
        batches.append(current)
    return batches


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


def _lengths(example: Encoded) -> tuple[int, int]:
    return len(example.source_ids), len(example.label_ids)


def _padded(rows: Sequence[list[int]], fill: int) -> Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])
