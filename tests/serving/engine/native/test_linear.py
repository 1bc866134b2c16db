"""Packed products have the bits of `quant.numerics.quantized_linear`."""

from __future__ import annotations

import ctypes
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quant.numerics import Quantized, dequantize, quantize, quantize_activation, quantized_linear
from quant.scheme import Granularity
from serving.engine.native.library import kernels
from serving.engine.native.linear import PackedLinear, pack_panels
from serving.engine.threads import set_threads


def reference(tokens: torch.Tensor, weight: Quantized, bias: torch.Tensor | None) -> torch.Tensor:
    return quantized_linear(quantize_activation(tokens), Quantized(weight.codes.float(), weight.scale), bias)


def multiplied(layer: PackedLinear, tokens: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
    return layer(tokens, torch.full((tokens.shape[0], layer.rows), torch.nan), residual)


@given(
    count=st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 24, 40, 60]),
    columns=st.integers(1, 130),
    rows=st.integers(1, 100),
    bits=st.sampled_from([2, 4, 8]),
    granularity=st.sampled_from(get_args(Granularity)),
    has_bias=st.booleans(),
    has_residual=st.booleans(),
    size=st.sampled_from([1e-3, 1.0, 50.0]),
    seed=st.integers(0, 2**31),
)
def test_bits_of_the_reference(
    count: int,
    columns: int,
    rows: int,
    bits: int,
    granularity: Granularity,
    has_bias: bool,
    has_residual: bool,
    size: float,
    seed: int,
) -> None:
    """Shapes that no panel and no tile divides, an all-zero token and an all-zero weight row among them."""
    generator = torch.Generator().manual_seed(seed)
    tokens = size * torch.randn(count, columns, generator=generator)
    weight = torch.randn(rows, columns, generator=generator)
    tokens[seed % count] = 0
    weight[seed % rows] = 0
    quantized = quantize(weight, bits, granularity)
    bias = torch.randn(rows, generator=generator) if has_bias else None
    residual = torch.randn(count, rows, generator=generator) if has_residual else None
    expected = reference(tokens, quantized, bias)
    expected = expected if residual is None else residual + expected
    layer = PackedLinear([quantized], [] if bias is None else [bias], bits)
    assert torch.equal(multiplied(layer, tokens, residual), expected)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [1, 30, 200])
def test_bits_of_the_reference_on_several_threads(bits: int, threads: int, count: int) -> None:
    """Enough work to be shared: by outputs when tokens are few, by tokens when they are many."""
    set_threads(threads)
    weight, bias, tokens = quantize(torch.randn(1500, 800), bits, "row"), torch.randn(1500), torch.randn(count, 800)
    assert torch.equal(multiplied(PackedLinear([weight], [bias], bits), tokens), reference(tokens, weight, bias))


@given(
    bits=st.sampled_from([2, 4, 8]),
    count=st.integers(1, 9),
    columns=st.sampled_from([1, 4, 15, 16, 17, 32, 48, 128, 130, 300, 3072]),
    tokens=st.sampled_from(["lowest", "highest", "either"]),
    codes=st.sampled_from(["lowest", "highest", "either"]),
    seed=st.integers(0, 2**31),
)
def test_extreme_codes_do_not_saturate(bits: int, count: int, columns: int, tokens: str, codes: str, seed: int) -> None:
    """All products at their largest, up to 3072 * 128 * 127, and every code that the bits have; some wrap in 16 bits."""
    generator = torch.Generator().manual_seed(seed)
    rows = extremes(tokens, -127, 127, (count, columns), generator)
    weight = extremes(codes, *CODES[bits], (33, columns), generator)
    layer = PackedLinear([Quantized(weight.to(torch.int8), torch.ones(33, 1))], [], bits)
    # The tokens' scale is 1, and so the value is the sum itself, rounded once.
    assert torch.equal(multiplied(layer, rows.float()), (rows @ weight.T).float())


@pytest.mark.parametrize("code", [-127, 127])
def test_the_largest_products_are_exact(code: int) -> None:
    """3072 * 127 * 127 = 49,548,288, which float32 holds exactly."""
    weight = Quantized(torch.full((3, 3072), code, dtype=torch.int8), torch.ones(3, 1))
    product = multiplied(PackedLinear([weight], [], 8), torch.full((2, 3072), 127.0))
    assert product.tolist() == [[49_548_288.0 * (1 if code > 0 else -1)] * 3] * 2


CODES = {2: (-1, 2), 4: (-8, 7), 8: (-128, 127)}
"""The lowest and highest codes that can be packed."""


def extremes(which: str, lowest: int, highest: int, shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    high = torch.rand(shape, generator=generator) < {"lowest": 0.0, "highest": 1.0, "either": 0.5}[which]
    return torch.where(high, highest, lowest)


def test_by_hand() -> None:
    """Token (127, -63.5) has scale 1 and codes 127 and -64 (half to even); the weight's scales are 0.5 and 2."""
    weight = Quantized(torch.tensor([[1, 1], [-1, 0]], dtype=torch.int8), torch.tensor([[0.5], [2.0]]))
    layer = PackedLinear([weight], [torch.tensor([10.0, 0.0])], 2)
    assert multiplied(layer, torch.tensor([[127.0, -63.5], [0.0, 0.0]])).tolist() == [[41.5, -254.0], [10.0, 0.0]]


def test_the_output_may_be_the_residual() -> None:
    weight, tokens, residual = quantize(torch.randn(40, 40), 2, "row"), torch.randn(5, 40), torch.randn(5, 40)
    expected = residual + reference(tokens, weight, None)
    assert torch.equal(PackedLinear([weight], [], 2)(tokens, residual, residual), expected)


def test_stacked_matrices_keep_their_scales() -> None:
    weights = [quantize(torch.randn(4, 24), 2, "row"), quantize(torch.randn(7, 24), 2, "matrix")]
    biases = [torch.randn(4), torch.randn(7)]
    tokens = torch.randn(6, 24)
    separate = [reference(tokens, weight, bias) for weight, bias in zip(weights, biases, strict=True)]
    assert torch.equal(multiplied(PackedLinear(weights, biases, 2), tokens), torch.cat(separate, 1))


@pytest.mark.parametrize(("bits", "size"), [(2, 32 * 16 // 4), (4, 32 * 16 // 2), (8, 32 * 16)])
def test_weights_stay_packed(bits: int, size: int) -> None:
    codes = torch.zeros(32, 16, dtype=torch.int8)
    codes[17, 6] = 1
    panels = pack_panels(codes, bits)
    assert panels.numel() == size
    fields, offset = 8 // bits, {2: 1, 4: 8, 8: 128}[bits]
    zero = sum(offset << (bits * field) for field in range(fields))
    # Row 17 is lane 1 of the second half; column 6 is the third of group 1.
    assert panels[0, 1 // fields, 1, 1, 2] == zero + (1 << (bits * (1 % fields)))
    assert int((panels != zero).sum()) == 1


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_embedding_rows_are_read_from_the_panels(bits: int) -> None:
    weight, positions = quantize(torch.randn(70, 40), bits, "row"), quantize(torch.randn(9, 40), 8, "row")
    layer = PackedLinear([weight], [], bits)
    tokens, places = torch.tensor([0, 15, 16, 31, 32, 69]), torch.tensor([0, 8, 3, 3, 1, 2])
    out = torch.empty(6, 40)
    scales = positions.scale.contiguous()
    addresses = tokens.data_ptr(), places.data_ptr()
    position_addresses = positions.codes.data_ptr(), scales.data_ptr()
    kernels().dq_embed(layer.address, *addresses, 6, ctypes.c_float(8.0), *position_addresses, out.data_ptr())
    looked_up = weight.codes[tokens].float() * weight.scale[tokens] * 8.0
    assert torch.equal(out, looked_up + dequantize(positions)[places])
