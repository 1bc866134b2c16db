"""Lengths of keys are padded to multiples of 16, so that a request's bits are the same whoever it is padded with.

A softmax sums a row in vectors of 16 and then across the vector; further whole vectors of zeros do not change that sum, a
ragged end that moves would.
"""

KEY_BLOCK = 16


def padded_length(length: int) -> int:
    """The next multiple of KEY_BLOCK."""
    return -(-length // KEY_BLOCK) * KEY_BLOCK
