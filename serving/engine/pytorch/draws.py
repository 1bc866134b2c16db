"""Tokens drawn from whole rows of logits: the reference of `Draws`, of CPU and GPU runners alike.

Each step is a single float32 operation, so that native code can have the same weights to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from serving.engine.pytorch.ranking import descending, keys_of, values_of
from serving.engine.runner import UNITS, Draws

_LEAST = -30.0
"""Its exponential is below half a unit."""
_LOG2_E = 1.44269504
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_COEFFICIENTS = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
"""Of e^r about 0, as Cephes has them."""


def drawn(logits: Tensor, draws: Sequence[Draws]) -> Tensor:
    """Edited float32 logits [rows, vocabulary], and of each row how it is drawn from: keys of what is drawn [rows, numbers].

    All rows have equally many numbers; those of a row are `numbers[0]`.
    """
    device = logits.device
    keys = descending(keys_of(logits))
    values = values_of(keys)
    summed = whole_weights(values, torch.tensor([[each.divisor] for each in draws], device=device)).cumsum(-1)
    last = summed.shape[1]
    ends = torch.tensor([[min(each.top_k or last, last) - 1] for each in draws], device=device)
    # Where no token is left, the first one stands for all.
    ends = torch.where(values[:, :1] == -torch.inf, 0, ends)
    parts = torch.tensor([[each.top_p] for each in draws], dtype=torch.float64, device=device)
    ends = torch.minimum(ends, torch.searchsorted(summed, parts * summed.gather(1, ends)))
    numbers = torch.tensor([each.numbers[0] for each in draws], dtype=torch.float64, device=device)
    places = torch.searchsorted(summed, numbers * summed.gather(1, ends), right=True)
    return keys.gather(1, torch.minimum(places, ends))


def whole_weights(values: Tensor, divisors: Tensor) -> Tensor:
    """Of each row's descending float32 values: e^((value - best) / divisor) in whole units, float64 [rows, vocabulary].

    Sums of up to 2^21 of them are exact. The best has all units.
    """
    best = values[:, :1]
    shifted = torch.where(values == best, 0.0, (values - best) / divisors)
    return (exponential(shifted.clamp_(min=_LEAST)).double() * UNITS).round_()


def exponential(x: Tensor) -> Tensor:
    """e^x of float32 values from -30 to 0: 2^n * p(r), r = x - n ln 2."""
    n = (x * _LOG2_E).round_()
    r = x - n * _LN2_HIGH
    r -= n * _LN2_LOW
    p = torch.full_like(r, _COEFFICIENTS[0])
    for coefficient in _COEFFICIENTS[1:]:
        p = p.mul_(r).add_(coefficient)
    p = p.mul_(r * r).add_(r).add_(1.0)
    return p.mul_(((n.int() + 127) << 23).view(torch.float32))
