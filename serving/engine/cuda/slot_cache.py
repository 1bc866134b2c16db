"""Keys and values in slots that never move, so that a captured step finds them again.

An entry (a beam for self attention, a source for cross attention) has a slot for as long as it lives. Which slots a step
reads and how far is said by tensors on the device. A step gathers the slots it reads, one copy of int8 codes, and entries
need not lie side by side: who leaves frees a slot, who joins takes one, and a beam that is continued twice is one copy.
Slots are as long as the longest sequence, whoever uses them; pages would waste less.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from quant.numerics import Quantized
from serving.engine.pytorch.cache import slices


class SlotCache:
    """Codes are [slots + 1, heads of all layers, positions, width], scales [..., 1].

    The last slot is `spare`, for entries that only fill a shape.
    """

    def __init__(
        self, heads: Sequence[int], slots: int, positions: int, width: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """`heads` are those of each layer."""
        codes = torch.zeros(slots + 1, sum(heads), positions, width, dtype=dtype, device=device)
        scale = torch.zeros(slots + 1, sum(heads), positions, 1, device=device)
        self._heads = slices(heads)
        self._tensors = (codes, scale, codes.clone(), scale.clone())
        self.spare = slots

    def entries(self, slots: Tensor, lengths: Tensor, padded: int) -> SlotEntries:
        """The entries in int64 slots [entries], of int64 lengths [entries], read up to `padded` positions."""
        return SlotEntries(self._tensors, self._heads, slots, lengths, padded)

    def copy(self, origins: Tensor, targets: Tensor, positions: int) -> None:
        """Copy the first positions of slots to others, all at the same moment; both int64 [copies]."""
        for tensor in self._tensors:
            tensor[:, :, :positions].index_copy_(0, targets, tensor[:, :, :positions].index_select(0, origins))


class SlotEntries:
    """What the forward passes see of a `SlotCache`: a `serving.engine.pytorch.cache.Cache`."""

    def __init__(
        self, tensors: tuple[Tensor, ...], heads: Sequence[slice], slots: Tensor, lengths: Tensor, padded: int
    ) -> None:
        self._tensors = tensors
        self._heads = heads
        self._slots = slots
        self.lengths = lengths
        self.padded = padded

    def layer(self, index: int) -> tuple[Quantized, Quantized]:
        """Keys and values of one layer, [entries, heads, padded, width]."""
        key_codes, key_scale, value_codes, value_scale = (
            tensor[:, self._heads[index], : self.padded].index_select(0, self._slots) for tensor in self._tensors
        )
        return Quantized(key_codes, key_scale), Quantized(value_codes, value_scale)

    def write_last(self, layer: int, keys: Quantized, values: Quantized) -> None:
        """Write the last position of every entry, from [entries, heads, width]."""
        for tensor, new in zip(self._tensors, (*keys, *values), strict=True):
            tensor[:, self._heads[layer]][self._slots, :, self.lengths - 1] = new.to(tensor.dtype)

    def write_joined(self, layer: int, keys: Quantized, values: Quantized) -> None:
        """Write the first positions of every entry, from [entries, heads, positions, width]."""
        for tensor, new in zip(self._tensors, (*keys, *values), strict=True):
            tensor[:, self._heads[layer], : new.shape[2]].index_copy_(0, self._slots, new.to(tensor.dtype))


class PlacedGroups:
    """Rows of a source side by side, as `serving.engine.pytorch.cache.BeamGroups`, for a shape that is padded.

    `places` int64 [rows] is source * widest + beam, or sources * widest for rows that only fill the shape.
    """

    def __init__(self, places: Tensor, sources: int, widest: int) -> None:
        self._places = places
        self._shape = sources, widest

    def grouped(self, rows: Tensor) -> Tensor:
        """[rows, heads, width] to [sources, heads, widest, width]; zeros where a source has fewer rows."""
        sources, widest = self._shape
        groups = rows.new_zeros(sources * widest + 1, *rows.shape[1:]).index_copy(0, self._places, rows)
        return groups[:-1].view(sources, widest, *rows.shape[1:]).transpose(1, 2)

    def ungrouped(self, groups: Tensor) -> Tensor:
        """[sources, heads, widest, width] to [rows, heads, width]."""
        rows = groups.transpose(1, 2).flatten(0, 1)
        return rows.index_select(0, self._places.clamp(max=rows.shape[0] - 1))
