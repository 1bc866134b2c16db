from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from quant.numerics import (
    EXACT_TERMS,
    Quantized,
    dequantize,
    fake_quantize,
    quantize,
    quantize_activation,
    quantize_with_scale,
    quantized_attention,
    quantized_linear,
)
from quant.scheme import Granularity

# Nearest float16 of 1/127 = 0.0078740157: in [2^-7, 2^-6) float16 has steps of 2^-17, and 1/127 lies 1,032.06 steps from 0.
HALF_OF_1_BY_127 = 1032 / 2**17

bits_and_granularity = st.tuples(st.sampled_from((2, 4, 8)), st.sampled_from(get_args(Granularity)))
seeds = st.integers(0, 2**32)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_codes(*shape: int, least: int, seed: int) -> Tensor:
    return torch.randint(least, 128, shape, generator=torch.Generator().manual_seed(seed)).float()


# -- weights


def test_eight_bits_by_hand() -> None:
    codes, scale = quantize(torch.tensor([[1.0, -0.5, 0.25, 0.0], [0.0, 0.0, 0.0, 0.0]]), 8, "row")
    assert scale.tolist() == [[HALF_OF_1_BY_127], [0.0]]
    # 1/s = 127.0078, 0.5/s = 63.5039, 0.25/s = 31.7519
    assert codes.tolist() == [[127, -64, 32, 0], [0, 0, 0, 0]]
    assert codes.dtype == torch.int8


def test_the_scale_that_divides_is_the_float16_one() -> None:
    # 0.5 / (1/127) is 63.5, which rounds to the even 64; 0.49999 / (1/127) = 63.4987 would round to 63, but the float16
    # scale is 6e-5 smaller, and 0.49999 divided by it is 63.5026.
    codes, scale = quantize(torch.tensor([[1.0, 0.49999]]), 8, "row")
    assert codes.tolist() == [[127, 64]]
    assert torch.equal(scale, scale.half().float())


def test_four_bits_by_hand() -> None:
    # scale 1.75 / 7 = 0.25, exact in float16; halves go to the even code: 0.375 / 0.25 = 1.5 → 2, 0.625 / 0.25 = 2.5 → 2
    codes, scale = quantize(torch.tensor([[1.75, -1.75, 0.375, 0.625, -0.1]]), 4, "row")
    assert scale.tolist() == [[0.25]]
    assert codes.tolist() == [[7, -7, 2, 2, 0]]


def test_two_bits_by_hand() -> None:
    # mean |w| = (1 + 0.5 + 0.3 + 0.2) / 4 = 0.5, threshold 0.35; level = (1 + 0.5) / 2
    codes, scale = quantize(torch.tensor([[1.0, -0.5, 0.3, -0.2], [0.0, 0.0, 0.0, 0.0]]), 2, "row")
    assert scale.tolist() == [[0.75], [0.0]]
    assert codes.tolist() == [[1, -1, 0, 0], [0, 0, 0, 0]]


def test_the_ternary_threshold_itself_is_zero() -> None:
    # mean |w| of (5, -5, 3.5, 6.5) / 16 is 5/16, and 0.7 of it is 3.5/16, which is not *above*
    codes, scale = quantize(torch.tensor([[5.0, -5.0, 3.5, 6.5]]) / 16, 2, "row")
    assert codes.tolist() == [[1, -1, 0, 1]]
    assert scale.tolist() == [[torch.tensor(5.5 / 16).half().item()]]


def test_two_bits_of_tbt_by_hand() -> None:
    # mean |w| = (1 + 0.5 + 0.3 + 0.45) / 4 = 0.5625, and 4/3 of it 0.75; 0.375, half of that, is rounded to 0.
    weight = torch.tensor([[1.0, -0.5, 0.3, -0.45], [0.0, 0.0, 0.0, 0.0], [1.125, 0.375, 0.376, 0.374]])
    codes, scale = quantize(weight, 2, "row", ternary="tbt")
    assert scale.tolist() == [[0.75], [0.0], [0.75]]
    assert codes.tolist() == [[1, -1, 0, -1], [0, 0, 0, 0], [1, 0, 1, 0]]
    assert torch.equal(fake_quantize(weight, 2, "row", ternary="tbt"), dequantize(Quantized(codes, scale)))


def test_one_scale_of_tbt_for_the_matrix_and_a_clip_range() -> None:
    # mean |w| clipped to 3 is (3 + 1 + 1 + 1) / 4 = 1.5
    codes, scale = quantize(torch.tensor([[9.0, -1.0], [1.0, -1.0]]), 2, "matrix", clip=3.0, ternary="tbt")
    assert scale.tolist() == [[2.0]]
    assert codes.tolist() == [[1, 0], [0, 0]]  # 1 / 2 is a half, which goes to the even 0


@pytest.mark.parametrize("bits", [4, 8])
def test_the_way_of_ternary_scales_is_of_two_bits_alone(bits: int) -> None:
    weight = normal(4, 8, seed=3)
    assert torch.equal(quantize(weight, bits, "row", ternary="tbt").scale, quantize(weight, bits, "row").scale)


def test_a_given_scale_by_hand() -> None:
    weight = torch.tensor([[0.3, -0.4, 2.0, -3.0], [0.125, 0.375, -0.5, 1.0]])
    codes, scale = quantize_with_scale(weight, torch.tensor([[0.25], [0.0]]), 4)
    assert codes.tolist() == [[1, -2, 7, -7], [0, 0, 0, 0]]  # the second row has scale 0
    assert scale.tolist() == [[0.25], [0.0]]
    assert quantize_with_scale(weight, torch.tensor([[0.25]]), 2).codes.tolist() == [[1, -1, 1, -1], [0, 1, -1, 1]]


def test_other_bits_have_no_levels() -> None:
    with pytest.raises(ValueError, match="bits is 3: 2, 4 and 8 are accepted"):
        quantize_with_scale(torch.ones(1, 1), torch.ones(1, 1), 3)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_clip_range_bounds_the_scale(bits: int) -> None:
    weight = torch.tensor([[0.2, -8.0, 8.0, 0.1]])
    wide, narrow = (dequantize(quantize(weight, bits, "row", clip)) for clip in (float("inf"), 1.0))
    assert float(wide.abs().max()) == pytest.approx(8.0, rel=2**-10)
    assert float(narrow.abs().max()) == pytest.approx(1.0, rel=2**-10)


def test_one_scale_for_the_matrix() -> None:
    weight = torch.tensor([[1.75, 0.5], [0.25, 0.0]])
    codes, scale = quantize(weight, 4, "matrix")
    assert scale.tolist() == [[0.25]]
    assert codes.tolist() == [[7, 2], [1, 0]]
    # mean |w| = 2.5 / 4 = 0.625, threshold 0.4375; level = (1.75 + 0.5) / 2
    codes, scale = quantize(weight, 2, "matrix")
    assert scale.tolist() == [[1.125]]
    assert codes.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (4, 7), (2, 1)])
def test_values_are_clipped_first(bits: int, largest: int) -> None:
    weight = torch.tensor([[2.5, -2.5, 0.0]])
    far = torch.tensor([[1e6, -torch.inf, 0.0]])
    assert torch.equal(fake_quantize(far, bits, "row"), fake_quantize(weight, bits, "row"))
    assert quantize(far, bits, "row").codes.tolist() == [[largest, -largest, 0]]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_row_too_small_for_a_float16_scale_is_zero(bits: int) -> None:
    codes, scale = quantize(torch.tensor([[1e-9, -2e-9]]), bits, "row")
    assert codes.tolist() == [[0, 0]]
    assert scale.tolist() == [[0.0]]


@pytest.mark.parametrize("bits", [0, 1, 3, 16])
def test_other_bits_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"bits is {bits}: 2, 4 and 8 are accepted"):
        quantize(torch.zeros(1, 1), bits, "row")


@given(bits_and_granularity, st.integers(1, 9), st.integers(1, 40), seeds)
def test_what_quantized_values_promise(how: tuple[int, Granularity], rows: int, columns: int, seed: int) -> None:
    bits, granularity = how
    weight = normal(rows, columns, seed=seed)
    codes, scale = quantize(weight, bits, granularity)
    levels = {2: 1, 4: 7, 8: 127}[bits]
    assert codes.shape == weight.shape
    assert scale.shape == ((rows, 1) if granularity == "row" else (1, 1))
    assert int(codes.int().abs().max()) <= levels
    assert torch.equal(scale, scale.half().float())
    assert bool((codes.float() * weight >= 0).all())
    assert torch.equal(dequantize(Quantized(codes, scale)), fake_quantize(weight, bits, granularity))
    if bits > 2:
        # half a step, and at the ends what float16 took off the scale: 2^-11 of it, `levels` times
        error = (dequantize(Quantized(codes, scale)) - weight.clamp(-2.5, 2.5)).abs()
        assert bool((error <= scale * (0.5 + levels * 2**-11 + 1e-3)).all())


@given(bits_and_granularity, seeds)
def test_rows_with_scales_of_their_own_do_not_depend_on_other_rows(how: tuple[int, Granularity], seed: int) -> None:
    bits, _ = how
    weight = normal(6, 33, seed=seed)
    whole = quantize(weight, bits, "row")
    alone = quantize(weight[2:3], bits, "row")
    assert torch.equal(alone.codes, whole.codes[2:3])
    assert torch.equal(alone.scale, whole.scale[2:3])


# -- activations


def test_activations_by_hand() -> None:
    codes, scale = quantize_activation(torch.tensor([[254.0, -1.0, 3.0, 126.8], [0.0, 0.0, 0.0, 0.0]]))
    assert scale.tolist() == [[2.0], [1.0]]
    assert codes.tolist() == [[127, 0, 2, 63], [0, 0, 0, 0]]  # -0.5 and 1.5 go to the even code


def test_a_token_too_small_for_a_scale_is_zero() -> None:
    codes, scale = quantize_activation(torch.tensor([[1e-45, 0.0, -1e-45]]))
    assert codes.tolist() == [[0, 0, 0]]
    assert scale.tolist() == [[1.0]]


@given(st.integers(1, 6), st.integers(1, 50), st.floats(1e-30, 1e30), seeds)
def test_a_token_does_not_depend_on_other_tokens(tokens: int, width: int, size: float, seed: int) -> None:
    values = normal(1, tokens, width, seed=seed)
    stranger = normal(3, 1, width, seed=seed + 1) * size
    batch = torch.cat((stranger.expand(3, tokens, width), values))
    alone, together = quantize_activation(values), quantize_activation(batch)
    assert torch.equal(alone.codes, together.codes[3:])
    assert torch.equal(alone.scale, together.scale[3:])
    assert torch.equal(quantize_activation(values[:, -1:]).codes, alone.codes[:, -1:])


# -- products


@given(
    st.sampled_from([1, 16, 768, EXACT_TERMS, EXACT_TERMS + 1, 3072, 4096]),
    st.booleans(),
    st.booleans(),
    seeds,
)
def test_a_linear_layer_is_exact_over_integers(columns: int, largest: bool, has_bias: bool, seed: int) -> None:
    """Whatever the codes, all of one sign and near their largest included: the sum over int64, rounded once to float32."""
    least = 110 if largest else -127
    tokens = random_codes(3, columns, least=least, seed=seed)
    rows = random_codes(5, columns, least=least, seed=seed + 1)
    token_scale, weight_scale = normal(3, 1, seed=seed).abs(), normal(5, 1, seed=seed).abs()
    bias = normal(5, seed=seed) if has_bias else None
    products = (tokens.long() @ rows.long().T).float()
    expected = products * token_scale * weight_scale.T
    expected = expected if bias is None else expected + bias
    found = quantized_linear(Quantized(tokens, token_scale), Quantized(rows.to(torch.int8), weight_scale), bias)
    assert torch.equal(found, expected)


def test_a_linear_layer_of_one_scale_and_many_dimensions() -> None:
    tokens = Quantized(torch.tensor([[[2.0, 3.0]], [[-1.0, 0.0]]]), torch.tensor([[[0.5]], [[2.0]]]))
    weight = Quantized(torch.tensor([[1, 1], [0, -1], [1, 0]], dtype=torch.int8), torch.tensor([[0.25]]))
    # 5 · 0.5 · 0.25, -3 · 0.5 · 0.25, 2 · 0.5 · 0.25; then -1 · 2 · 0.25, 0, -1 · 2 · 0.25
    assert quantized_linear(tokens, weight, None).tolist() == [[[0.625, -0.375, 0.25]], [[-0.5, 0.0, -0.5]]]
    assert quantized_linear(tokens, weight, torch.ones(3))[0].tolist() == [[1.625, 0.625, 1.25]]


def test_attention_by_hand() -> None:
    """Two keys of equal scores: probabilities 1/2, folded with value scales 2 and 1 to 1 and 0.5, as codes 127 and 64."""
    query = Quantized(torch.tensor([[[[0.0, 0.0]]]]), torch.ones(1, 1, 1, 1))
    key = Quantized(torch.tensor([[[[3.0, 1.0], [-5.0, 2.0]]]]), torch.ones(1, 1, 2, 1))
    value = Quantized(torch.tensor([[[[10.0, 0.0], [0.0, 100.0]]]]), torch.tensor([[[[2.0], [1.0]]]]))
    scale = torch.tensor(1.0) / 127
    assert torch.equal(quantized_attention(query, key, value, None, 1.0), torch.tensor([[[[1270.0, 6400.0]]]]) * scale)


@pytest.mark.parametrize("keys", [EXACT_TERMS, EXACT_TERMS + 1, 2048, 4096])
def test_attention_is_exact_over_integers_for_any_number_of_keys(keys: int) -> None:
    """Equal scores, so that every probability has the largest code, and value codes near theirs: sums far beyond 2^24."""
    value = Quantized(random_codes(keys, 8, least=110, seed=keys)[None, None], torch.full((1, 1, keys, 1), 0.5))
    query, key = (Quantized(torch.ones(1, 1, count, 4), torch.ones(1, 1, count, 1)) for count in (3, keys))
    found = quantized_attention(query, key, value, None, 1.0)
    sums = (127 * value.codes.long().sum(-2, keepdim=True)).float()
    scale = torch.softmax(torch.zeros(keys), -1)[0] * 0.5 / 127
    assert torch.equal(found, (sums * scale).expand(1, 1, 3, 8))


@pytest.mark.parametrize("keys", [1041, 2048, 4090])
def test_attention_over_many_keys_does_not_depend_on_padding_or_batch(keys: int) -> None:
    query, key, value = (quantize_activation(normal(3, 2, count, 8, seed=keys)) for count in (2, 4200, 4200))
    mask = torch.zeros(3, 1, 1, 4200)
    mask[1, ..., keys:] = torch.finfo(torch.float32).min
    together = quantized_attention(query, key, value, mask, 0.05)[1:2]
    alone = [Quantized(rows.codes[1:2, :, :keys], rows.scale[1:2, :, :keys]) for rows in (query, key, value)]
    assert torch.equal(quantized_attention(*alone, None, 0.05), together)


def test_attention_is_near_the_one_in_floating_point() -> None:
    query, key, value = (normal(2, 3, 9, 16, seed=seed) for seed in (1, 2, 3))
    mask = torch.zeros(2, 1, 9, 9).masked_fill(torch.ones(9, 9).triu(1).bool(), torch.finfo(torch.float32).min)
    found = quantized_attention(*map(quantize_activation, (query, key, value)), mask, 0.25)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.25)
    assert float((found - expected).abs().max()) < 0.04
    assert float((found - expected).abs().mean()) < 0.01


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 4), st.booleans(), seeds)
def test_attention_of_a_row_does_not_depend_on_padding_or_batch(
    keys: int, padding: int, queries: int, infinite: bool, seed: int
) -> None:
    dropped = -torch.inf if infinite else torch.finfo(torch.float32).min
    length = keys + padding
    tensors = [normal(4, 2, count, 8, seed=seed + index) * 3 for index, count in enumerate((queries, length, length))]
    tensors[1][:3] *= 50
    query, key, value = map(quantize_activation, tensors)
    mask = torch.zeros(4, 1, 1, length)
    mask[3, ..., keys:] = dropped
    mask[:3, ..., length // 2 + 1 :] = dropped
    together = quantized_attention(query, key, value, mask, 0.3)[3:]

    def own(rows: Quantized, count: int) -> Quantized:
        return Quantized(rows.codes[3:, :, :count], rows.scale[3:, :, :count])

    alone = quantized_attention(own(query, queries), own(key, keys), own(value, keys), None, 0.3)
    assert torch.equal(alone, together)
    padded = quantized_attention(own(query, queries), own(key, length), own(value, length), mask[3:], 0.3)
    assert torch.equal(alone, padded)
    last = Quantized(query.codes[3:, :, -1:], query.scale[3:, :, -1:])
    assert torch.equal(quantized_attention(last, own(key, keys), own(value, keys), None, 0.3), together[:, :, -1:])
