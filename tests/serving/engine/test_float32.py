"""Arithmetic in Python's floats, rounded, has the bits of float32 tensors."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.float32 import float32

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(NUMBERS, NUMBERS)
def test_rounded_sums_and_quotients_are_those_of_tensors(left: float, right: float) -> None:
    a, b = torch.tensor([left]), torch.tensor([right])
    assert float32([left + right]) == (a + b).tolist()
    if abs(right) > 1e-30 and (left == 0 or abs(left / right) > 1e-37):
        assert float32([left / right]) == (a / b).tolist()


def test_by_hand() -> None:
    """float32 numbers near 10^9 are 64 apart, and none is above 3.4 * 10^38."""
    assert float32([-1e9 - 31, -1e9 - 33, 0.1]) == [-1e9, -1e9 - 64, 0.10000000149011612]
    assert float32([1e39, -1e39]) == [math.inf, -math.inf]
