from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress.model.straight_through import (
    SMALLEST_SCALE,
    fake_quantize_activation,
    fake_quantize_weight,
    fake_quantize_with_learned_scale,
    initial_clip_values,
    quantize_with_learned_scale,
)
from quant.numerics import dequantize, fake_quantize, quantize, quantize_activation
from quant.scheme import Granularity


def test_a_weight_is_quantized_forward_and_passes_its_gradient_inside_the_clip_range() -> None:
    weight = torch.tensor([[0.5, -1.0, 2.6, -3.0]], requires_grad=True)
    values = fake_quantize_weight(weight, 8, "row")
    (values * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert torch.equal(values.detach(), fake_quantize(weight, 8, "row"))
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1.0, 2.0, 0.0, 0.0]]


def test_an_activation_passes_its_whole_gradient() -> None:
    tokens = torch.tensor([[0.1, -4.0, 2.0], [0.0, 0.0, 0.0]], requires_grad=True)
    values = fake_quantize_activation(tokens)
    values.sum().backward()
    assert torch.equal(values.detach(), dequantize(quantize_activation(tokens.detach())))
    assert tokens.grad is not None
    assert torch.equal(tokens.grad, torch.ones_like(tokens))


def test_a_clip_range_of_its_own() -> None:
    weight = torch.tensor([[0.5, -1.0, 2.6]], requires_grad=True)
    values = fake_quantize_weight(weight, 8, "row", clip=0.75)
    values.sum().backward()
    assert float(values.detach().abs().max()) == pytest.approx(0.75, rel=2**-10)
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1.0, 0.0, 0.0]]


def test_ternary_weights_of_tbt_pass_the_whole_gradient_without_a_clip_range() -> None:
    weight = torch.tensor([[1.0, -0.5, 0.3, -9.0]], requires_grad=True)
    values = fake_quantize_weight(weight, 2, "row", clip=float("inf"), ternary="tbt")
    values.sum().backward()
    assert torch.equal(values.detach(), fake_quantize(weight, 2, "row", float("inf"), "tbt"))
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1.0, 1.0, 1.0, 1.0]]
    start = initial_clip_values(weight, 2, "row", float("inf"), "tbt")
    assert start.tolist() == [[float(quantize(weight, 2, "row", float("inf"), "tbt").scale)]][0]


# -- learned scales


def learned(weight: list[list[float]], clip_values: list[float], bits: int, gradient: list[list[float]]):
    """Values, and the gradients of weights and clip values."""
    weights = torch.tensor(weight, requires_grad=True)
    clips = torch.tensor(clip_values, requires_grad=True)
    values = fake_quantize_with_learned_scale(weights, clips, bits)
    values.backward(torch.tensor(gradient))
    assert weights.grad is not None
    assert clips.grad is not None
    return values.tolist(), weights.grad.tolist(), clips.grad.tolist()


def test_gradients_of_four_bits_by_hand() -> None:
    # scale 1.75 / 7 = 0.25; w / scale = 1.2, -1.6, 8, -12; codes 1, -2, 7, -7
    values, by_weight, by_clip_value = learned([[0.3, -0.4, 2.0, -3.0]], [1.75], 4, [[1.0, 2.0, 3.0, 4.0]])
    assert values == [[0.25, -0.5, 1.75, -1.75]]
    assert by_weight == [[1.0, 2.0, 0.0, 0.0]]
    # By scale: 1 * (1 - 1.2) + 2 * (-2 + 1.6) + 3 * 7 - 4 * 7 = -8, times 1 / √(4 weights * 7 levels). A clip value is 7
    # scales.
    assert by_clip_value == pytest.approx([-8 / 28**0.5 / 7])


def test_gradients_of_two_bits_by_hand() -> None:
    # w / scale = 0.4, 0.6, -1.2, 0.5: half a scale itself is 0
    values, by_weight, by_clip_value = learned([[0.2, 0.3, -0.6, 0.25]], [0.5], 2, [[1.0, 1.0, 1.0, 1.0]])
    assert values == [[0.0, 0.5, -0.5, 0.0]]
    assert by_weight == [[1.0, 1.0, 0.0, 1.0]]
    assert by_clip_value == pytest.approx([(-0.4 + 0.4 - 1 - 0.5) / 4**0.5])


def test_one_learned_scale_for_the_matrix_sums_over_its_rows() -> None:
    values, _, by_clip_value = learned([[0.2, 0.3], [-0.6, 0.25]], [0.5], 2, [[1.0, 1.0], [1.0, 1.0]])
    assert values == [[0.0, 0.5], [-0.5, 0.0]]
    assert by_clip_value == pytest.approx([(-0.4 + 0.4 - 1 - 0.5) / 4**0.5])


@given(st.sampled_from((2, 4, 8)), st.sampled_from(get_args(Granularity)), st.integers(0, 2**32))
def test_learning_starts_from_the_computed_scales(bits: int, granularity: Granularity, seed: int) -> None:
    weight = torch.randn(5, 24, generator=torch.Generator().manual_seed(seed))
    clip_values = initial_clip_values(weight, bits, granularity)
    computed = quantize(weight, bits, granularity)
    started = quantize_with_learned_scale(weight, clip_values, bits)
    assert clip_values.ndim == 1
    assert torch.equal(started.scale, computed.scale)
    if bits > 2:  # with 2 bits the threshold is half a scale from now on, not 0.7 of the mean
        assert torch.equal(started.codes, computed.codes)


@given(st.sampled_from((2, 4, 8)), st.integers(0, 2**32))
def test_what_is_trained_on_is_what_is_quantized(bits: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight, clip_values = torch.randn(5, 24, generator=generator), torch.rand(5, generator=generator) * 3
    quantized = quantize_with_learned_scale(weight, clip_values, bits)
    assert torch.equal(fake_quantize_with_learned_scale(weight, clip_values, bits), dequantize(quantized))
    assert torch.equal(quantized.scale.half().float(), quantized.scale)


def test_a_row_whose_clip_value_went_to_zero_still_learns() -> None:
    values, by_weight, by_clip_value = learned([[0.5, 0.0], [0.0, 0.0]], [-0.1, 0.0], 8, [[1.0, 1.0], [1.0, 1.0]])
    assert values == [[127 * SMALLEST_SCALE, 0.0], [0.0, 0.0]]
    assert by_weight == [[0.0, 1.0], [1.0, 1.0]]
    assert by_clip_value == pytest.approx([1 / (2 * 127) ** 0.5, 0.0])
