"""Rounding to float32 without tensors, for searches whose scores must have the bits of `generate`.

A sum, product or quotient of two float32 numbers, computed as Python's float64 and then rounded, is the float32 result:
float64 has more than twice the digits, so that rounding twice rounds as once.
"""

from array import array
from collections.abc import Iterable


def float32(values: Iterable[float]) -> list[float]:
    """Each value rounded to the nearest float32; what is too large becomes an infinity."""
    return array("f", values).tolist()
