from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quant.numerics import Quantized, quantize, quantize_activation, quantized_linear
from quant.scheme import Granularity
from serving.engine.pytorch.int8_linear import Int8Linear, ReferenceLinear, integer_linear, stacked

Case = tuple[torch.Tensor, Quantized, torch.Tensor | None]

needs_vnni = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this CPU has no VNNI, the reference is used")


@st.composite
def products(draw: st.DrawFn) -> Case:
    """Tokens and a weight, with an all-zero token and all-zero weight rows now and then."""
    count, columns, rows = draw(st.integers(1, 40)), draw(st.integers(1, 130)), draw(st.integers(1, 70))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    tokens = torch.randn(count, columns, generator=generator) * draw(st.sampled_from([1e-3, 1.0, 50.0]))
    weight = torch.randn(rows, columns, generator=generator)
    if draw(st.booleans()):
        tokens[draw(st.integers(0, count - 1))] = 0
    if draw(st.booleans()):
        weight[draw(st.integers(0, rows - 1))] = 0
    bits, granularity = draw(st.sampled_from([2, 4, 8])), draw(st.sampled_from(get_args(Granularity)))
    bias = torch.randn(rows, generator=generator) if draw(st.booleans()) else None
    return tokens, quantize(weight, bits, granularity), bias


@needs_vnni
@given(products())
def test_int8_products_have_the_bits_of_the_reference(case: Case) -> None:
    tokens, weight, bias = case
    expected = quantized_linear(quantize_activation(tokens), Quantized(weight.codes.float(), weight.scale), bias)
    assert torch.equal(Int8Linear(weight, bias)(tokens), expected)


@needs_vnni
@pytest.mark.parametrize("code", [-127, 127])
def test_extreme_codes_do_not_saturate(code: int) -> None:
    """All products at their largest: 1024 * 127 * 127 = 16,516,096, still exact in float32."""
    weight = Quantized(torch.full((3, 1024), code, dtype=torch.int8), torch.ones(3, 1))
    product = Int8Linear(weight, None)(torch.full((2, 1024), 127.0))
    assert product.tolist() == [[16_516_096.0 * (1 if code > 0 else -1)] * 3] * 2


def test_by_hand() -> None:
    """Token (127, -63.5) has scale 1 and codes 127 and -64 (half to even); the weight's scales are 0.5 and 2."""
    weight = Quantized(torch.tensor([[1, 2], [-1, 0]], dtype=torch.int8), torch.tensor([[0.5], [2.0]]))
    layer = integer_linear(weight, torch.tensor([10.0, 0.0]))
    assert layer(torch.tensor([[127.0, -63.5], [0.0, 0.0]])).tolist() == [[9.5, -254.0], [10.0, 0.0]]


def test_leading_dimensions_are_kept() -> None:
    weight = quantize(torch.randn(5, 8), 8, "row")
    tokens = torch.randn(2, 3, 8)
    assert torch.equal(integer_linear(weight, None)(tokens)[1, 2], integer_linear(weight, None)(tokens[1, 2:])[0])


def test_stacked_products_are_the_separate_ones() -> None:
    """Whatever the granularity of each matrix."""
    weights = [quantize(torch.randn(4, 24), 2, "row"), quantize(torch.randn(7, 24), 2, "matrix")]
    tokens = torch.randn(6, 24)
    separate = [ReferenceLinear(weight, None)(tokens) for weight in weights]
    assert torch.equal(integer_linear(stacked(weights), None)(tokens), torch.cat(separate, 1))
