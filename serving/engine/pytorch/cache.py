"""Keys and values of the decoder's attention, as codes and scales, for entries of different lengths."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from quant.numerics import Quantized
from serving.engine.padding import padded_length


def key_mask(lengths: Tensor, padded: int) -> Tensor:
    """What is added to scores: [entries, 1, 1, padded], 0 on the first `lengths` keys of an entry, very negative beyond."""
    dropped = torch.arange(padded, device=lengths.device) >= lengths.unsqueeze(1)
    return (dropped * torch.finfo(torch.float32).min)[:, None, None, :]


def slices(heads: Sequence[int]) -> list[slice]:
    """Of each layer, whose heads lie side by side with those of the others: a layer may have fewer than another."""
    ends = list(accumulate(heads))
    return [slice(end - count, end) for count, end in zip(heads, ends, strict=True)]


class Cache(Protocol):
    """What the forward passes ask of a cache; lengths and shapes are those of `KeyValueCache`."""

    lengths: Tensor

    @property
    def padded(self) -> int: ...

    def layer(self, index: int) -> tuple[Quantized, Quantized]: ...

    def write_last(self, layer: int, keys: Quantized, values: Quantized) -> None: ...

    def write_joined(self, layer: int, keys: Quantized, values: Quantized) -> None: ...


class Groups(Protocol):
    """How rows are brought together with the keys of their source, and back; shapes are those of `BeamGroups`."""

    def grouped(self, rows: Tensor) -> Tensor: ...

    def ungrouped(self, groups: Tensor) -> Tensor: ...


class KeyValueCache:
    """Keys and values of every decoder layer.

    An entry is whatever has keys of its own: a beam for self attention, a request for cross attention. Codes are
    [entries, heads of all layers, padded, width], scales [entries, heads of all layers, padded, 1]; positions beyond an
    entry's length hold finite numbers without meaning.
    """

    def __init__(self, heads: Sequence[int], width: int, dtype: torch.dtype) -> None:
        """`heads` are those of each layer."""
        codes = torch.zeros(0, sum(heads), 0, width, dtype=dtype)
        scale = torch.zeros(0, sum(heads), 0, 1)
        self._tensors = [codes, scale, codes, scale]
        self._heads = slices(heads)
        self.lengths = torch.zeros(0, dtype=torch.int64)

    @property
    def entries(self) -> int:
        return self.lengths.shape[0]

    @property
    def padded(self) -> int:
        return self._tensors[0].shape[2]

    def layer(self, index: int) -> tuple[Quantized, Quantized]:
        """Keys and values of one layer, [entries, heads, padded, width]."""
        key_codes, key_scale, value_codes, value_scale = (tensor[:, self._heads[index]] for tensor in self._tensors)
        return Quantized(key_codes, key_scale), Quantized(value_codes, value_scale)

    def join(self, lengths: Sequence[int]) -> None:
        """Add entries of these lengths at the end, their keys and values yet to be written."""
        self.lengths = torch.cat((self.lengths, torch.tensor(lengths, dtype=torch.int64)))
        self._reserve()

    def extend(self) -> None:
        """Make every entry one position longer, that position yet to be written."""
        self.lengths = self.lengths + 1
        self._reserve()

    def write_last(self, layer: int, keys: Quantized, values: Quantized) -> None:
        """Write the last position of every entry, from [entries, heads, width]."""
        entries, positions = torch.arange(self.entries), self.lengths - 1
        for tensor, new in zip(self._tensors, (*keys, *values), strict=True):
            tensor[:, self._heads[layer]][entries, :, positions] = new.to(tensor.dtype)

    def write_joined(self, layer: int, keys: Quantized, values: Quantized) -> None:
        """Write the first positions of the entries that came last, from [joined, heads, positions, width]."""
        for tensor, new in zip(self._tensors, (*keys, *values), strict=True):
            tensor[-new.shape[0] :, self._heads[layer], : new.shape[2]] = new.to(tensor.dtype)

    def select(self, entries: Sequence[int]) -> None:
        """Keep these entries, in this order; one may be named several times."""
        if list(entries) == list(range(self.entries)):
            return
        index = torch.tensor(entries, dtype=torch.int64)
        self.lengths = self.lengths[index]
        padded = self._needed()
        self._tensors = [tensor[:, :, :padded].index_select(0, index) for tensor in self._tensors]

    def _needed(self) -> int:
        return padded_length(int(self.lengths.max())) if self.entries else 0

    def _reserve(self) -> None:
        padded = max(self._needed(), self.padded)
        for place, tensor in enumerate(self._tensors):
            entries, heads, length, width = tensor.shape
            if (entries, length) != (self.entries, padded):
                larger = tensor.new_zeros(self.entries, heads, padded, width)
                larger[:entries, :, :length] = tensor
                self._tensors[place] = larger


class BeamGroups:
    """Which rows belong to which request, so that the beams of a request share its source's keys without copies.

    Rows come request after request. Queries are laid out as [requests, heads, most beams, width]; where a request has fewer
    beams, the rest is zeros, which are computed and dropped.
    """

    def __init__(self, beams: Sequence[int]) -> None:
        self.requests = len(beams)
        self.widest = max(beams)
        slots = [request * self.widest + beam for request, count in enumerate(beams) for beam in range(count)]
        self._slots = None if len(slots) == self.requests * self.widest else torch.tensor(slots, dtype=torch.int64)

    def grouped(self, rows: Tensor) -> Tensor:
        """[rows, heads, width] to [requests, heads, most beams, width]."""
        if self._slots is not None:
            rows = rows.new_zeros(self.requests * self.widest, *rows.shape[1:]).index_copy(0, self._slots, rows)
        return rows.view(self.requests, self.widest, *rows.shape[1:]).transpose(1, 2)

    def ungrouped(self, groups: Tensor) -> Tensor:
        """[requests, heads, most beams, width] to [rows, heads, width]."""
        rows = groups.transpose(1, 2).flatten(0, 1)
        return rows if self._slots is None else rows[self._slots]
