"""A linear layer over integer codes: the reference of `quant.numerics`, and oneDNN's int8 product with the same bits.

oneDNN multiplies unsigned by signed bytes, so token codes are shifted by 128 and oneDNN takes the shift out again. On CPUs
with VNNI the product accumulates in 32 bits; without, oneDNN may saturate pairs of products in 16 bits, so that there the
reference is used. Both give the exact integer products, and the one `rescale` turns those into values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from quant.numerics import Quantized, quantize_activation, quantized_linear, rescale

Linear = Callable[[Tensor], Tensor]
"""float32 [..., columns] to float32 [..., rows]."""

_SHIFT = 128


class ReferenceLinear:
    """Codes multiplied as whole float32 numbers; right on every CPU, and slow."""

    def __init__(self, weight: Quantized, bias: Tensor | None) -> None:
        self.weight = Quantized(weight.codes.float(), weight.scale)
        self.bias = bias

    def __call__(self, tokens: Tensor) -> Tensor:
        return quantized_linear(quantize_activation(tokens), self.weight, self.bias)


class Int8Linear:
    """Codes multiplied as bytes by oneDNN; needs a CPU with VNNI."""

    def __init__(self, weight: Quantized, bias: Tensor | None) -> None:
        self.rows = weight.codes.shape[0]
        self.weight = torch.ops.onednn.qlinear_prepack(weight.codes.contiguous(), None)
        self.weight_scale = weight.scale
        self.bias = bias
        self._unit = torch.ones(1)
        self._zero = torch.zeros(1, dtype=torch.int64)

    def __call__(self, tokens: Tensor) -> Tensor:
        codes, scale = quantize_activation(tokens)
        shifted = codes.add_(_SHIFT).to(torch.uint8).flatten(0, -2)
        products = torch.ops.onednn.qlinear_pointwise(
            shifted, 1.0, _SHIFT, self.weight, self._unit, self._zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return rescale(products.view(*tokens.shape[:-1], self.rows), scale, self.weight_scale, self.bias)


def integer_linear(weight: Quantized, bias: Tensor | None) -> Linear:
    """The fastest linear layer with the reference's bits that this CPU has."""
    return Int8Linear(weight, bias) if torch.cpu._is_vnni_supported() else ReferenceLinear(weight, bias)


def stacked(weights: Sequence[Quantized]) -> Quantized:
    """Matrices of equal columns below one another, as one product; each row keeps its own matrix's scale."""
    scales = [weight.scale.expand(weight.codes.shape[0], 1) for weight in weights]
    return Quantized(torch.cat([weight.codes for weight in weights]), torch.cat(scales))
