"""Lengths of keys are padded to multiples of 16, so that a request's bits are the same whoever it is padded with.

A softmax sums a row in vectors of 16 and then across the vector; further whole vectors of zeros do not change that sum, a
ragged end that moves would. Padded here, keys need no padding copy in `quant.numerics.quantized_attention`.
"""

from quant.numerics import SOFTMAX_BLOCK


def padded_length(length: int) -> int:
    """The next multiple of SOFTMAX_BLOCK."""
    return -(-length // SOFTMAX_BLOCK) * SOFTMAX_BLOCK
