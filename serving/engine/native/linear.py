"""Packed linear layers: the layout that kernels/linear.cpp reads, made from an artifact's codes.

2-bit weights stay 2 bits in memory, so that a step moves a quarter of the bytes that 8-bit weights take.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from quant.numerics import Quantized
from serving.engine.native.library import DqLinear, kernels

PANEL = 32
"""Outputs of a panel."""
COLUMNS = 16
"""Columns are padded to a multiple of this."""
_PACKED_TOGETHER = 64 * PANEL
OFFSETS = {2: 1, 4: 8, 8: 128}
"""Codes are packed as code + offset, without sign."""


def pack_panels(codes: Tensor, bits: int) -> Tensor:
    """int8 codes [rows, columns] to the uint8 bytes of their panels, padding included.

    [panels, columns / (4 * fields), 2, 16, 4]: half a panel has 16 rows, and each byte `fields` = 8 / bits columns, which
    lie 4 apart.
    """
    # A few panels at a time, so that loading a model takes little more memory than the model.
    return torch.cat([_pack(part, bits) for part in torch.split(codes, _PACKED_TOGETHER)])


def _pack(codes: Tensor, bits: int) -> Tensor:
    rows, columns = codes.shape
    fields = 8 // bits
    padded = functional.pad(codes, (0, -columns % COLUMNS, 0, -rows % PANEL)).to(torch.int16) + OFFSETS[bits]
    split = padded.to(torch.uint8).view(-(-rows // PANEL), 2, 16, -1, fields, 4)
    packed = split.new_zeros(split.shape[0], split.shape[3], 2, 16, 4)
    for field in range(fields):
        packed |= split[:, :, :, :, field].permute(0, 3, 1, 2, 4) << (bits * field)
    return packed


class PackedLinear:
    """Matrices of equal columns below one another, as one product over packed codes."""

    def __init__(self, weights: Sequence[Quantized], biases: Sequence[Tensor], bits: int) -> None:
        self.rows = sum(weight.codes.shape[0] for weight in weights)
        self.columns = weights[0].codes.shape[1]
        self._codes = pack_panels(torch.cat([weight.codes for weight in weights]), bits)
        self._scale = _padded(torch.cat([weight.scale.expand(weight.codes.shape[0], 1) for weight in weights])[:, 0])
        self._bias = _padded(torch.cat(list(biases))) if biases else None
        bias = None if self._bias is None else self._bias.data_ptr()
        self._struct = DqLinear(self.rows, self.columns, bits, self._codes.data_ptr(), self._scale.data_ptr(), bias)
        self.address = ctypes.addressof(self._struct)
        """Of the kernels' description of this layer."""
        self._multiply = kernels().dq_linear

    def __call__(self, tokens: Tensor, out: Tensor, residual: Tensor | None = None) -> Tensor:
        """float32 [tokens, columns] to `out` [tokens, rows], `residual` added; all contiguous. `out` may be `residual`."""
        added = None if residual is None else residual.data_ptr()
        self._multiply(self.address, tokens.data_ptr(), tokens.shape[0], added, out.data_ptr())
        return out


def _padded(values: Tensor) -> Tensor:
    return functional.pad(values, (0, -values.shape[0] % PANEL)).contiguous()
