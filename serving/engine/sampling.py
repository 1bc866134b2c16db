"""Drawing a token from a row's candidates, as the warpers of `transformers` shape their distribution.

Temperature, then top-k, then top-p. Top-k is what the candidates were asked for: exactly k of them, where `transformers`
also keeps tokens whose logit equals the k-th. A draw is one uniform number from the sequence's own generator, looked up in
the summed weights, so that it depends on the row's logits and the seed alone. Here, where tokens are few; else by the
runner, in the same order (`Draws` in runner.py): the same tokens but where a number falls within 1e-6 of a border of two.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from random import Random

from serving.engine.request import GenerationParameters


class Sampler:
    """The draws of one sequence of a request."""

    def __init__(self, parameters: GenerationParameters, sequence: int) -> None:
        """`sequence` counts the request's sequences, so that each draws differently under one seed."""
        self._temperature = parameters.temperature
        self._top_p = parameters.top_p
        self._random = Random(f"{parameters.seed}/{sequence}")
        self.number = self._random.random()
        """Of the next draw, in [0, 1)."""

    def draw(self, logits: Sequence[float]) -> int:
        """The place of the drawn one among a row's logits, which descend."""
        weights = summed_weights(logits, self._temperature, self._top_p)
        # The last place is never passed, even if the product were rounded up to the whole sum.
        place = bisect_right(weights, self.number * weights[-1], 0, len(weights) - 1)
        self.pass_on()
        return place

    def pass_on(self) -> None:
        """Go to the next draw: the number has been used."""
        self.number = self._random.random()


def summed_weights(logits: Sequence[float], temperature: float, top_p: float) -> list[float]:
    """Of descending logits those that may be drawn: each one's probability and all before it, times a constant.

    With top_p, the likeliest are kept until their probabilities add up to it, the one that reaches it included.
    """
    best = logits[0]
    if best == -math.inf:
        return [1.0]
    summed = list(accumulate([math.exp((logit - best) / temperature) for logit in logits]))
    return summed if top_p == 1.0 else summed[: bisect_left(summed, top_p * summed[-1]) + 1]
