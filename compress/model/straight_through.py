"""Gradients through quantizers: forward quantized, backward as if it were the identity (straight-through estimation).

The gradient is zero where a weight lies outside the clip range (section 2.1 of the paper). Activations have a dynamic
scale, the maximum of each token, so that nothing of them lies outside.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from quant.numerics import CLIP, dequantize, fake_quantize, quantize_activation
from quant.scheme import Granularity


class _FakeQuantizeWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int, granularity: Granularity) -> Tensor:
        ctx.save_for_backward(weight)
        return fake_quantize(weight, bits, granularity)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return gradients[0] * (weight.abs() <= CLIP), None, None


def fake_quantize_weight(weight: Tensor, bits: int, granularity: Granularity) -> Tensor:
    """`quant.numerics.fake_quantize` of [rows, columns] with a straight-through gradient."""
    values: Tensor = _FakeQuantizeWeight.apply(weight, bits, granularity)  # type: ignore[no-untyped-call]
    return values


def fake_quantize_activation(values: Tensor) -> Tensor:
    """Each token of [..., width] quantized and dequantized, float32, with a straight-through gradient."""
    return straight_through(values, dequantize(quantize_activation(values.detach())))


def straight_through(values: Tensor, quantized: Tensor) -> Tensor:
    """The value of `quantized` with the gradient of `values`."""
    return values + (quantized - values).detach()
