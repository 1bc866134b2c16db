"""The arithmetic of `quant.numerics` with int8 products on a device.

Weights of 8, 4 and 2 bits all lie there as int8 codes: one kernel multiplies them all exactly, and the lower bits take half
of what bf16 would. They are small on disk, not in the GPU's memory. Rows and columns are padded with zero codes to what the
int8 units take, since bitsandbytes falls back to float products elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from quant.numerics import Quantized, quantize_activation, rescale
from serving.engine.cuda.device import Product
from serving.engine.pytorch.arithmetic import IntegerArithmetic
from serving.engine.pytorch.int8_linear import Linear, stacked

ALIGNMENT = 16


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT."""
    return size + -size % ALIGNMENT


class DeviceArithmetic(IntegerArithmetic):
    """Integers, with linear layers by an int8 product; attention is float32 products of codes, as in the reference."""

    def __init__(self, product: Product) -> None:
        self._product = product

    def linear(self, weights: Sequence[Quantized], biases: Sequence[Tensor]) -> Linear:
        return Int8Linear(stacked(weights), torch.cat(list(biases)) if biases else None, self._product)


class Int8Linear:
    """Token codes int8 by weight codes int8 [rows, columns] to int32, then the one `rescale`."""

    def __init__(self, weight: Quantized, bias: Tensor | None, product: Product) -> None:
        self.rows, columns = weight.codes.shape
        self._padding = aligned(columns) - columns
        self._codes = functional.pad(weight.codes, (0, self._padding, 0, aligned(self.rows) - self.rows))
        self._scale = weight.scale
        self._bias = bias
        self._product = product

    def __call__(self, tokens: Tensor) -> Tensor:
        codes, scale = quantize_activation(tokens)
        # bitsandbytes is given the address alone, and takes what lies there to be row after row.
        codes = codes.flatten(0, -2).to(torch.int8, memory_format=torch.contiguous_format)
        if self._padding:
            codes = functional.pad(codes, (0, self._padding))
        products = self._product(codes, self._codes)[:, : self.rows].float()
        return rescale(products.view(*tokens.shape[:-1], self.rows), scale, self._scale, self._bias)
