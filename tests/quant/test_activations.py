"""Activations beside those of `transformers`, and wherever in a tensor a row lies."""

from __future__ import annotations

import pytest
import torch
from transformers.activations import ACT2FN

from quant.activations import ACTIVATIONS

NAMES = sorted(ACTIVATIONS)


@pytest.mark.parametrize("name", NAMES)
def test_the_function_of_that_name(name: str) -> None:
    values = torch.cat((torch.linspace(-120, 120, 4001), torch.linspace(-4, 4, 4001)))
    torch.testing.assert_close(ACTIVATIONS[name](values), ACT2FN[name](values), rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_of_that_function(name: str) -> None:
    ours, stock = (torch.linspace(-300, 300, 4001, requires_grad=True) for _ in range(2))
    ACTIVATIONS[name](ours).sum().backward()
    ACT2FN[name](stock).sum().backward()
    torch.testing.assert_close(ours.grad, stock.grad, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_has_the_same_bits_alone_and_among_others(name: str, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    rows = torch.randn(37, 1024, generator=torch.Generator().manual_seed(0)) * 3
    for width in (2, 7, 16, 33, 96, 1000, 1024):
        part = rows[:, :width].contiguous()
        together = ACTIVATIONS[name](part)
        assert all(torch.equal(ACTIVATIONS[name](row), expected) for row, expected in zip(part, together, strict=True)), (
            width
        )
    torch.set_num_threads(before)


def test_what_serves_for_another_name_is_as_close_as_rounding() -> None:
    assert {name for name in NAMES if ACTIVATIONS[name] is ACTIVATIONS["gelu_new"]} == {
        "gelu_accurate", "gelu_new", "gelu_python_tanh", "gelu_pytorch_tanh",
    }  # fmt: skip
    assert {"prelu", "xielu"}.isdisjoint(NAMES)
