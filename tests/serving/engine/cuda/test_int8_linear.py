from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quant.numerics import Quantized, quantize, quantize_activation, quantized_linear
from serving.engine.cuda.device import int8_product
from serving.engine.cuda.int8_linear import DeviceArithmetic, Int8Linear, aligned

PRODUCT = int8_product(torch.device("cpu"))


@given(st.integers(1, 40), st.integers(1, 130), st.integers(1, 70), st.sampled_from([2, 4, 8]), st.integers(0, 2**31))
def test_bits_of_the_reference(tokens: int, columns: int, rows: int, bits: int, seed: int) -> None:
    """Whatever the sizes: most are no multiples of what the int8 units take."""
    torch.manual_seed(seed)
    values, weight, bias = torch.randn(tokens, columns), quantize(torch.randn(rows, columns), bits, "row"), torch.randn(rows)
    expected = quantized_linear(quantize_activation(values), weight, bias)
    assert torch.equal(Int8Linear(weight, bias, PRODUCT)(values), expected)


def test_sums_past_float32_are_rounded_once() -> None:
    """4,096 products of the largest codes but for one of 126 * 127: 66,064,257, between the float32 numbers 66,064,256 and
    66,064,260."""
    codes = torch.full((1, 4096), 127, dtype=torch.int8)
    codes[0, 0] = 126
    layer = Int8Linear(Quantized(codes, torch.ones(1, 1)), None, PRODUCT)
    assert layer(torch.full((1, 4096), 127.0)).item() == 66_064_256.0


def test_products_get_whole_units_row_after_row() -> None:
    """However the tokens lie in memory, and however many there are of them."""
    given_product: list[tuple[torch.Tensor, torch.Tensor]] = []

    def recorded(tokens: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        given_product.append((tokens, weight))
        return PRODUCT(tokens, weight)

    layer = DeviceArithmetic(recorded).linear([quantize(torch.randn(5, 32), 4, "matrix")] * 2, [torch.zeros(5)] * 2)
    assert layer(torch.randn(2, 3, 32)).shape == (2, 3, 10)
    assert layer(torch.randn(32, 7).mT).shape == (7, 10)
    assert [tuple(map(tuple, map(torch.Tensor.size, pair))) for pair in given_product] == [
        ((6, 32), (16, 32)),
        ((7, 32), (16, 32)),
    ]
    assert all(tensor.is_contiguous() for pair in given_product for tensor in pair)


@pytest.mark.parametrize(("size", "padded"), [(1, 16), (16, 16), (17, 32), (50_265, 50_272)])
def test_aligned(size: int, padded: int) -> None:
    assert aligned(size) == padded
