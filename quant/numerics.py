"""The arithmetic, once: what the student trains against, what the packer stores and what the engine computes.

**Weights** (section 2.1 of the paper). Values are clipped to ±2.5. With 8 or 4 bits, codes are round(w / scale) with
scale = max|w| / (2^(b-1) - 1). With 2 bits (ternary weight networks) codes are sign(w) where |w| > 0.7 mean|w|, and the
scale is the mean of |w| above that threshold; or, as in TBT (Liu et al., ACL 2023, arXiv 2306.01841), the scale is
4/3 mean|w| and codes are round(w / scale), within ±1. Scales are rounded to float16 *before* they are used, so that what is
stored is exactly what was trained.

**Activations** are symmetric 8-bit with one scale a token (the last dimension), never one a batch: a token's codes depend
on nothing but that token.

**Every product is over integers.** Codes are kept in float tensors here; a sum of up to 1,040 products of codes stays below
2^24, where float32 is exact (longer sums are made of exact parts), so that a sum has one value in whatever order, blocking
or batch it was computed. An int8 kernel gives the same bits. This is what lets a request's tokens not depend on its
batchmates. In attention it takes one step beyond the paper: the scale of each value row is folded into the probabilities
before those are quantized, so that the sum over source positions, too, is over integers with one scale outside.

Large intermediate tensors are worked on in place: what their allocation costs in page faults is more than the arithmetic.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from quant.scheme import WEIGHT_BITS, Granularity

CLIP = 2.5
TERNARY_THRESHOLD = 0.7
TBT_SCALE = 4 / 3
"""Of mean|w|."""
ACTIVATION_LEVELS = 127
EXACT_TERMS = 2**24 // ACTIVATION_LEVELS**2
"""Products of two codes whose sum float32 is sure to hold exactly: 1,040."""
SOFTMAX_BLOCK = 16
"""Keys are padded to multiples of this before the softmax, whose sum runs over vectors of up to 16 lanes."""


Ternary = Literal["twn", "tbt"]
"""How scales of 2 bits are computed: by ternary weight networks, the paper's way, or by TBT, its successor's."""


class Quantized(NamedTuple):
    """Codes and the scale they are multiplied with: value = codes * scale.

    For weights, `codes` is int8 [rows, columns] and `scale` float32 [rows, 1] or [1, 1], each value exact in float16.
    For activations, `codes` is float32 [..., width] of whole numbers in [-127, 127] and `scale` float32 [..., 1].
    """

    codes: Tensor
    scale: Tensor


def quantize(weight: Tensor, bits: int, granularity: Granularity, clip: float = CLIP, ternary: Ternary = "twn") -> Quantized:
    """Quantize a matrix [rows, columns] to `bits`; one scale a row or one for the matrix.

    Values are clipped to ±`clip` first; `ternary` is of 2 bits. An all-zero row gets scale 0 and codes 0. Raises ValueError
    for bits other than 2, 4 and 8.
    """
    codes, scale = _whole_numbers(weight, bits, granularity, clip, ternary)
    return Quantized(codes.to(torch.int8), scale)


def quantize_with_scale(weight: Tensor, scale: Tensor, bits: int) -> Quantized:
    """Quantize a matrix [rows, columns] with given scales [rows, 1] or [1, 1], already exact in float16.

    Codes are round(w / scale), a half to the even neighbour, kept within ±(2^(bits-1) - 1): {-1, 0, 1} with 2 bits. Scale 0
    gives codes 0.
    """
    return Quantized(_codes(weight.detach().float(), scale, levels(bits)).to(torch.int8), scale)


def dequantize(quantized: Quantized) -> Tensor:
    """Codes times scale, float32, in the shape of the codes."""
    return quantized.codes.float() * quantized.scale


def fake_quantize(
    weight: Tensor, bits: int, granularity: Granularity, clip: float = CLIP, ternary: Ternary = "twn"
) -> Tensor:
    """Quantize, then dequantize: the values that a packed model has."""
    codes, scale = _whole_numbers(weight, bits, granularity, clip, ternary)
    return codes.mul_(scale)


def levels(bits: int) -> int:
    """The largest code: 1 with 2 bits, 7 with 4, 127 with 8. Raises ValueError for other bits."""
    if bits not in WEIGHT_BITS:
        raise ValueError(f"bits is {bits}: 2, 4 and 8 are accepted")
    return int(2 ** (bits - 1) - 1)


def round_to_half(scale: Tensor) -> Tensor:
    """Scales float32 rounded to the values that float16 has: those that are stored."""
    return scale.to(torch.float16).float()


def quantize_activation(values: Tensor) -> Quantized:
    """Quantize each token of float values [..., width] to 8 bits with its own scale; an all-zero token gets scale 1.

    So does a token whose scale float32 cannot hold: its codes are 0.
    """
    values = values.detach().float()
    peak = torch.maximum(values.amax(-1, keepdim=True), -values.amin(-1, keepdim=True))
    scale = peak / ACTIVATION_LEVELS
    scale = scale.masked_fill_(scale == 0, 1.0)
    return Quantized((values / scale).round_().clamp_(-ACTIVATION_LEVELS, ACTIVATION_LEVELS), scale)


def quantized_linear(tokens: Quantized, weight: Quantized, bias: Tensor | None) -> Tensor:
    """The reference of the engine's int8 kernels: tokens [..., columns] by weight [rows, columns] to [..., rows]."""
    products = code_products(tokens.codes, weight.codes.to(tokens.codes.dtype).mT)
    return rescale(products, tokens.scale, weight.scale, bias)


def code_products(codes: Tensor, others: Tensor) -> Tensor:
    """Float32 products of codes [..., rows, terms] by codes [..., terms, columns], each sum rounded once at most.

    Sums past 2^24 are, at the end, as an int32 sum turned into float32 is.
    """
    if codes.shape[-1] <= EXACT_TERMS:
        return codes @ others
    parts = zip(torch.split(codes, EXACT_TERMS, -1), torch.split(others, EXACT_TERMS, -2), strict=True)
    return torch.stack([one @ other for one, other in parts]).sum(0, dtype=torch.float64).float()


def rescale(products: Tensor, token_scale: Tensor, weight_scale: Tensor, bias: Tensor | None) -> Tensor:
    """Integer products [..., rows] to values, in place: times the tokens' scale [..., 1], the weight's [rows or 1, 1], plus
    bias.

    The order of these three operations is part of the promise of equal bits.
    """
    values = products.mul_(token_scale).mul_(weight_scale.squeeze(1))
    return values if bias is None else values.add_(bias)


def quantized_attention(query: Quantized, key: Quantized, value: Quantized, mask: Tensor | None, scaling: float) -> Tensor:
    """Attention over codes: [batch, heads, queries, width] by [batch, heads, keys, width] to [batch, heads, queries, width].

    `mask` is added to the scores before the softmax (0 to keep, very negative to drop), broadcast to [batch, heads, queries,
    keys]. A dropped position has probability 0 and takes no part in any scale.
    """
    scores = code_products(query.codes, key.codes.mT).mul_(query.scale * scaling).mul_(key.scale.mT)
    if mask is not None:
        scores += mask
    # A softmax adds up whole vectors of keys and then a ragged rest: without a rest, masked keys do not change the sum.
    keys = scores.shape[-1]
    if keys % SOFTMAX_BLOCK:
        scores = functional.pad(scores, (0, -keys % SOFTMAX_BLOCK), value=-torch.inf)
    folded = quantize_activation(torch.softmax(scores, dim=-1)[..., :keys].mul_(value.scale.mT))
    return code_products(folded.codes, value.codes).mul_(folded.scale)


def _whole_numbers(weight: Tensor, bits: int, granularity: Granularity, clip: float, ternary: Ternary) -> Quantized:
    """As `quantize`, with codes still in float32."""
    weight = weight.detach().float()
    axes = (1,) if granularity == "row" else (0, 1)
    if bits == 2:
        return _by_mean(weight, axes, clip) if ternary == "tbt" else _by_threshold(weight, axes, clip)
    # No code is beyond the last level, so that the weights themselves need no clipping, only the scale.
    peak = torch.maximum(weight.amax(axes, keepdim=True), -weight.amin(axes, keepdim=True)).clamp_(max=clip)
    scale = round_to_half(peak / levels(bits))
    return Quantized(_codes(weight, scale, levels(bits)), scale)


def _by_mean(weight: Tensor, axes: tuple[int, ...], clip: float) -> Quantized:
    """TBT's ternary weights (section 3.2)."""
    scale = round_to_half(TBT_SCALE * weight.abs().clamp_(max=clip).mean(axes, keepdim=True))
    return Quantized(_codes(weight, scale, levels(2)), scale)


def _by_threshold(weight: Tensor, axes: tuple[int, ...], clip: float) -> Quantized:
    """Those of ternary weight networks."""
    magnitude = weight.abs().clamp_(max=clip)
    above = (magnitude > TERNARY_THRESHOLD * magnitude.mean(axes, keepdim=True)).float()
    count = above.sum(axes, keepdim=True)
    scale = round_to_half(magnitude.mul_(above).sum(axes, keepdim=True) / count.clamp_(min=1))
    return Quantized(above.mul_(weight.sign()).mul_(scale > 0), scale)


def _codes(weight: Tensor, scale: Tensor, levels: int) -> Tensor:
    # A scale of 0, as of an all-zero row and of one that float16 rounds down to 0, leaves codes of 0.
    return (weight / torch.where(scale > 0, scale, torch.inf)).round_().clamp_(-levels, levels)
