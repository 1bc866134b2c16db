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
from serving.engine.native.buffers import Buffers
from serving.engine.native.library import DqLinear, kernels

PANEL = 32
"""Outputs of a panel."""
COLUMNS = 16
"""Columns are padded to a multiple of this."""


def panels_shape(rows: int, columns: int, bits: int) -> tuple[int, int, int, int, int]:
    """Of a matrix's packed bytes, padding included: [panels, columns / (4 * fields), 2, 16, 4].

    Half a panel has 16 rows, and each byte `fields` = 8 / bits columns, which lie 4 apart.
    """
    return -(-rows // PANEL), -(-columns // COLUMNS) * COLUMNS * bits // 32, 2, 16, 4


def pack_panels(codes: Tensor, bits: int) -> Tensor:
    """int8 codes [rows, columns] to the uint8 bytes of their panels, of `panels_shape`."""
    rows, columns = codes.shape
    packed = torch.empty(panels_shape(rows, columns, bits), dtype=torch.uint8)
    pack = kernels().dq_pack_codes
    pack(codes.contiguous().data_ptr(), 0, rows, columns, bits, packed.data_ptr())
    pack(None, rows, -rows % PANEL, columns, bits, packed.data_ptr())
    return packed


class PackedLinear:
    """Matrices of equal columns below one another, as one product over packed codes."""

    def __init__(self, weights: Sequence[Quantized], biases: Sequence[Tensor], bits: int) -> None:
        codes = torch.cat([weight.codes for weight in weights])
        scale = torch.cat([row_scales(weight) for weight in weights])
        bias = padded(torch.cat(list(biases))) if biases else None
        self._describe(codes.shape[0], codes.shape[1], bits, pack_panels(codes, bits), padded(scale), bias)

    @classmethod
    def over(cls, rows: int, columns: int, bits: int, codes: Tensor, scale: Tensor, bias: Tensor | None) -> PackedLinear:
        """Over what was packed before: uint8 of `panels_shape`; scale and bias float32, a value a row, `padded`."""
        linear = cls.__new__(cls)
        linear._describe(rows, columns, bits, codes, scale, bias)
        return linear

    def _describe(self, rows: int, columns: int, bits: int, codes: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        self.rows, self.columns = rows, columns
        self._memory = codes, scale, bias
        bias_address = None if bias is None else bias.data_ptr()
        self._struct = DqLinear(rows, columns, bits, codes.data_ptr(), scale.data_ptr(), bias_address)
        self.address = ctypes.addressof(self._struct)
        """Of the kernels' description of this layer."""
        self._multiply, self._multiply_codes = kernels().dq_linear, kernels().dq_linear_of_codes

    def __call__(self, tokens: Tensor, out: Tensor, residual: Tensor | None = None) -> Tensor:
        """float32 [tokens, columns] to `out` [tokens, rows], `residual` added; all contiguous. `out` may be `residual`."""
        added = None if residual is None else residual.data_ptr()
        self._multiply(self.address, tokens.data_ptr(), tokens.shape[0], added, out.data_ptr())
        return out

    def of_codes(self, codes: Codes, out: Tensor) -> Tensor:
        """The same of tokens that are quantized already."""
        self._multiply_codes(self.address, codes.memory.data_ptr(), codes.count, out.data_ptr())
        return out


class Codes:
    """Tokens quantized once for all layers that read them."""

    def __init__(self, tokens: Tensor, buffers: Buffers) -> None:
        """Of float32 [tokens, columns], contiguous; lies in the buffer of that name."""
        self.count, columns = tokens.shape
        self.memory = buffers.bytes("codes", kernels().dq_code_bytes(self.count, columns))
        kernels().dq_quantize(tokens.data_ptr(), self.count, columns, self.memory.data_ptr())


def row_scales(weight: Quantized) -> Tensor:
    """A scale for each row of a matrix, float32 [rows]."""
    return weight.scale.expand(weight.codes.shape[0], 1)[:, 0]


def padded(values: Tensor) -> Tensor:
    """A value a row, float32, with those of the last panel's missing rows."""
    return functional.pad(values, (0, -values.shape[0] % PANEL)).contiguous()
