"""Gradients through quantizers: forward quantized, backward as if it were the identity (straight-through estimation).

The gradient is zero where a weight lies outside the clip range (section 2.1 of the paper). Activations have a dynamic
scale, the maximum of each token, so that nothing of them lies outside.

**Learned scales** follow "Learned Step Size Quantization" (LSQ; Esser et al., ICLR 2020): the scale is trained with the
weights, by the gradient of the quantizer's value with respect to it. What is stored as the parameter is the *clip value*,
scale times largest code, beyond which a weight is cut off: it has the size of the largest weights whatever the bits, so that
the steps of AdamW, all of the size of the learning rate, suit it as they suit the weights. A scale of 8 bits, a hundredth of
that, would be overrun by them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from quant.numerics import (
    CLIP,
    Quantized,
    Ternary,
    dequantize,
    fake_quantize,
    levels,
    quantize,
    quantize_activation,
    quantize_with_scale,
    round_to_half,
)
from quant.scheme import Granularity

SMALLEST_SCALE = 2.0**-14
"""The smallest normal number of float16. A learned scale stays above it, so that no row is lost for good."""


class _FakeQuantizeWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int, granularity: Granularity, clip: float, ternary: Ternary) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.clip = clip
        return fake_quantize(weight, bits, granularity, clip, ternary)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        # One pass over the weights, where a mask takes three.
        return torch.ops.aten.hardtanh_backward(gradients[0], weight, -ctx.clip, ctx.clip), None, None, None, None


class _FakeQuantizeWithLearnedScale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, clip_values: Tensor, bits: int) -> Tensor:
        quantized = quantize_with_learned_scale(weight, clip_values, bits)
        ctx.save_for_backward(weight, quantized.codes, quantized.scale)
        ctx.levels = levels(bits)
        return dequantize(quantized)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, codes, scale = ctx.saved_tensors
        ratio = weight / scale
        outside = ratio.abs() > ctx.levels
        # The derivative of code * scale by the scale: code - w / scale inside (equation 3 of LSQ), the last code outside.
        by_scale = (gradients[0] * (codes - ratio.masked_fill_(outside, 0.0))).sum_to_size(scale.shape)
        factor = (weight.numel() // scale.numel() * ctx.levels) ** -0.5
        by_clip_value = by_scale.squeeze(1) * (factor / ctx.levels)
        return gradients[0].masked_fill(outside, 0.0), by_clip_value, None


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, quantized: Tensor) -> Tensor:
        return quantized.view_as(quantized)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def fake_quantize_weight(
    weight: Tensor, bits: int, granularity: Granularity, clip: float = CLIP, ternary: Ternary = "twn"
) -> Tensor:
    """`quant.numerics.fake_quantize` of [rows, columns] with a straight-through gradient."""
    values: Tensor = _FakeQuantizeWeight.apply(weight, bits, granularity, clip, ternary)  # type: ignore[no-untyped-call]
    return values


def fake_quantize_with_learned_scale(weight: Tensor, clip_values: Tensor, bits: int) -> Tensor:
    """The values of `quantize_with_learned_scale`, float32 [rows, columns], with the gradients of LSQ to both.

    The gradient factor of LSQ, 1 / √(weights that share the scale * largest code), applies to the scale.
    """
    values: Tensor = _FakeQuantizeWithLearnedScale.apply(weight, clip_values, bits)  # type: ignore[no-untyped-call]
    return values


def quantize_with_learned_scale(weight: Tensor, clip_values: Tensor, bits: int) -> Quantized:
    """Codes and scales of [rows, columns]; `clip_values` are [rows], or [1] for the whole matrix."""
    scale = round_to_half(clip_values.detach().float().unsqueeze(1) / levels(bits)).clamp_(min=SMALLEST_SCALE)
    return quantize_with_scale(weight, scale, bits)


def initial_clip_values(
    weight: Tensor, bits: int, granularity: Granularity, clip: float = CLIP, ternary: Ternary = "twn"
) -> Tensor:
    """The clip values [rows] or [1] that give the scales of `quant.numerics.quantize`, to the bit."""
    scale = quantize(weight, bits, granularity, clip, ternary).scale.squeeze(1)
    return scale.clamp(min=SMALLEST_SCALE) * levels(bits)


_DRAWN = 0.3
"""Of the way of a latent weight from the middle of its cell, what is left of it: at the edge, where error compensation and
coordinate descent leave many, the first steps of training would turn them over by the thousand, and undo both."""


def within_cells(latent: Tensor, codes: Tensor, scale: Tensor, bits: int) -> Tensor:
    """`latent` [rows, columns] moved into the cells that round to `codes` at `scale`, and there towards the middle; float32.

    None lies beyond the clip value, where gradients are zero.
    """
    codes, most = codes.float(), levels(bits)
    aside = (latent.float() / scale - codes).clamp_(-0.5, 0.5).mul_(_DRAWN)
    return aside.add_(codes).clamp_(-most, most).mul_(scale)


def codes_fault(codes: Tensor, scale: Tensor, bits: int, shape: torch.Size, granularity: Granularity) -> str | None:
    """What keeps codes and scale from being those of a weight of learned scales; None where nothing does."""
    most, scales = levels(bits), (shape[0] if granularity == "row" else 1, 1)
    if codes.shape != shape or tuple(scale.shape) != scales:
        return f"codes are {list(codes.shape)} and scale {list(scale.shape)}: {list(shape)} and {list(scales)} are expected"
    if not bool((codes.abs() <= most).all() & (codes == codes.round()).all()):
        return f"codes are not all whole numbers from -{most} to {most}, those of {bits} bits"
    if not bool((scale >= SMALLEST_SCALE).all() & (round_to_half(scale.float()) == scale).all()):
        return f"scales are not all numbers of float16 from {SMALLEST_SCALE:g}"
    return None


def fake_quantize_activation(values: Tensor) -> Tensor:
    """Each token of [..., width] quantized and dequantized, float32, with a straight-through gradient."""
    codes, scale = quantize_activation(values)
    return straight_through(values, codes.mul_(scale))


def straight_through(values: Tensor, quantized: Tensor) -> Tensor:
    """`quantized`, of the shape of `values`, with the gradient of `values`."""
    result: Tensor = _StraightThrough.apply(values, quantized)  # type: ignore[no-untyped-call]
    return result
