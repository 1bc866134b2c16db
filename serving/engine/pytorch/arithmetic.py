"""The two ways a scheme computes: over integer codes (A = 8), or in floating point with weights alone quantized (A = 16).

Integers: every product is exact, so that a row's values cannot depend on the other rows of its batch, nor on the order in
which a kernel sums. Floating point: products are summed in float64 and rounded to float32. A different order of summation
moves a float64 sum by about 1e-16 of its size and the rounding hides that unless the sum lies that close to the middle
between two float32 values; so the order practically never shows, but that is likely, not proven as it is for integers. It
costs eight bytes a weight and is meant for measuring what quantized activations lose, not for serving.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from quant.numerics import Quantized, dequantize, quantize_activation, quantized_attention
from quant.scheme import Scheme
from serving.engine.pytorch.int8_linear import Linear, integer_linear, stacked


class Arithmetic(Protocol):
    """What the model computes its products with."""

    cache_dtype: torch.dtype
    """Of the codes that a cache of keys or values holds."""

    def linear(self, weights: Sequence[Quantized], biases: Sequence[Tensor]) -> Linear:
        """One product with several matrices of equal columns; their outputs side by side. No biases: none is added."""

    def rows(self, values: Tensor) -> Quantized:
        """Queries, keys or values [..., width] as attention takes them and a cache keeps them."""

    def attention(self, query: Quantized, key: Quantized, value: Quantized, mask: Tensor, scaling: float) -> Tensor:
        """As `quant.numerics.quantized_attention`; codes may be int8."""


class IntegerArithmetic:
    cache_dtype = torch.int8

    def linear(self, weights: Sequence[Quantized], biases: Sequence[Tensor]) -> Linear:
        return integer_linear(stacked(weights), torch.cat(list(biases)) if biases else None)

    def rows(self, values: Tensor) -> Quantized:
        return quantize_activation(values)

    def attention(self, query: Quantized, key: Quantized, value: Quantized, mask: Tensor, scaling: float) -> Tensor:
        key, value = (Quantized(codes.float(), scale) for codes, scale in (key, value))
        return quantized_attention(query, key, value, mask, scaling)


class FloatArithmetic:
    cache_dtype = torch.float32

    def linear(self, weights: Sequence[Quantized], biases: Sequence[Tensor]) -> Linear:
        weight = dequantize(stacked(weights)).double()
        bias = torch.cat(list(biases)).double() if biases else None
        return lambda tokens: functional.linear(tokens.double(), weight, bias).float()

    def rows(self, values: Tensor) -> Quantized:
        return Quantized(values, values.new_ones(*values.shape[:-1], 1))

    def attention(self, query: Quantized, key: Quantized, value: Quantized, mask: Tensor, scaling: float) -> Tensor:
        scores = (query.codes.double() @ key.codes.double().mT).float() * scaling + mask
        return (torch.softmax(scores, dim=-1).double() @ value.codes.double()).float()


def arithmetic_of(scheme: Scheme) -> Arithmetic:
    return IntegerArithmetic() if scheme.quantizes_activations else FloatArithmetic()
