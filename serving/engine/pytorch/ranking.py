"""The order of a row's tokens: by value, equal values by the smaller token id.

A value and its token are one whole number, so that no sort and no topk has ties to break: the bits of the value, made to
sort as whole numbers do, above those of the token counted backwards.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_LAST_TOKEN = 2**32 - 1
_MAGNITUDE = 2**31 - 1
"""Every bit of a float32 but its sign."""


def keys_of(values: Tensor) -> Tensor:
    """Float32 [rows, vocabulary] to int64 that sort by value and, where values are equal, by the smaller token id first."""
    # A negative zero equals a zero; adding one makes it one.
    bits = (values + 0.0).view(torch.int32)
    ordered = bits ^ ((bits >> 31) & _MAGNITUDE)
    tokens = torch.arange(values.shape[1], device=values.device)
    return ordered.long() * 2**32 + (_LAST_TOKEN - tokens)


def values_of(keys: Tensor) -> Tensor:
    """The float32 values that keys were made of."""
    ordered = keys >> 32
    return (ordered ^ ((ordered >> 31) & _MAGNITUDE)).int().view(torch.float32)


def tokens_of(keys: Tensor) -> Tensor:
    """The tokens that keys were made of."""
    return _LAST_TOKEN - (keys & _LAST_TOKEN)


def descending(keys: Tensor) -> Tensor:
    """Each row sorted, the best first."""
    if keys.device.type == "cpu":
        # NumPy's sort is fifty times as fast as that of torch, which sorts places along.
        return torch.from_numpy(np.sort(keys.numpy(), axis=-1)[:, ::-1].copy())
    return keys.sort(-1, descending=True).values
