"""Codes that stay, and scales that grow by shares of themselves."""

import torch

from compress.model.held_codes import HeldCodes
from compress.model.straight_through import SMALLEST_SCALE
from quant.numerics import Quantized

CODES = torch.tensor([[1, 0, -1], [0, 1, 1]], dtype=torch.int8)


def held() -> HeldCodes:
    return HeldCodes(Quantized(CODES, torch.tensor([[0.5], [2.0]])))


def test_values_are_codes_times_scale_and_the_gradient_is_of_the_growth() -> None:
    module = held()
    assert module.values().tolist() == [[0.5, 0.0, -0.5], [0.0, 2.0, 2.0]]
    module.values().sum().backward()
    # The sum of a row's codes times its scale, which is what the scale grows by.
    assert module.growth.grad.tolist() == [[0.0], [4.0]]
    assert module.rows(torch.tensor([[1, 0]])).tolist() == [[[0.0, 2.0, 2.0], [0.5, 0.0, -0.5]]]


def test_a_scale_is_one_of_float16_and_not_below_the_smallest() -> None:
    module = held()
    with torch.no_grad():
        module.growth += torch.tensor([[0.1], [-20.0]])
    scale = module.quantized().scale
    assert torch.equal(scale, scale.half().float())
    assert abs(float(scale[0, 0]) - 0.5 * 2.718281828**0.1) < 1e-3
    assert float(scale[1, 0]) == SMALLEST_SCALE
    assert torch.equal(module.quantized().codes, CODES)
