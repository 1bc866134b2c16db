"""What the runner draws is what a search draws among a listed vocabulary, with the probabilities that warpers leave."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.pytorch.candidates import select_candidates
from serving.engine.pytorch.draws import exponential, whole_weights
from serving.engine.runner import UNITS, Draws, Wanted
from serving.engine.sampling import summed_weights
from tests.serving.engine.lists import edits

VOCABULARY = 2000


def drawn(logits: torch.Tensor, numbers: list[float], **shape: Any) -> list[int]:
    """Tokens of one row of logits."""
    draws = Draws(**{"temperature": 1.0, "top_k": 0, "top_p": 1.0, **shape, "numbers": [numbers]})
    (found,) = select_candidates(logits[None], [1], [Wanted(len(numbers), draws=draws)])
    assert found.values[0].tolist() == logits[found.tokens[0]].tolist()
    return found.tokens[0].tolist()  # type: ignore[no-any-return]


@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.5, 3.0, 10.0]),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 500, VOCABULARY, VOCABULARY + 1]),
    top_p=st.sampled_from([1.0, 0.9, 0.3]),
)
def test_the_tokens_of_a_search_that_lists_the_vocabulary(
    seed: int, spread: float, temperature: float, top_k: int, top_p: float
) -> None:
    """But where a number falls next to a border of two tokens: weights were float64 there, sums rounded."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(VOCABULARY, generator=generator)
    numbers = torch.rand(200, generator=generator, dtype=torch.float64).tolist()
    ordered, tokens = logits.sort(stable=True, dim=-1, descending=True)
    summed = summed_weights(ordered[: top_k or None].tolist(), temperature, top_p)
    borders = torch.tensor(summed, dtype=torch.float64) / summed[-1]
    found = drawn(logits, numbers, temperature=temperature, top_k=top_k, top_p=top_p)
    for number, token in zip(numbers, found, strict=True):
        if (borders - number).abs().min() > 1e-6:
            assert token == tokens[int(torch.searchsorted(borders, number, right=True))]


def test_shares_are_the_probabilities() -> None:
    """Evenly spaced numbers: each token gets its part of them, within one at each of its borders."""
    logits = torch.tensor([0.4, 0.3, 0.2, 0.07, 0.03, 0.0]).log().repeat(1)
    count = 20_000
    numbers = [(place + 0.5) / count for place in range(count)]
    counts = torch.bincount(torch.tensor(drawn(logits, numbers)), minlength=6)
    assert (counts - count * logits.exp()).abs().max() <= 1
    heated = torch.bincount(torch.tensor(drawn(logits, numbers, temperature=2.0)), minlength=6)
    assert (heated - count * torch.softmax(logits / 2, -1)).abs().max() <= 1
    nucleus = torch.bincount(torch.tensor(drawn(logits, numbers, top_p=0.65, top_k=5)), minlength=6)
    assert nucleus.tolist() == [round(count * 4 / 7), round(count * 3 / 7), 0, 0, 0, 0]


def test_weights_are_exponentials_in_whole_units() -> None:
    values = torch.linspace(0, -40, 10_001)[None]
    weights = whole_weights(values, torch.ones(1, 1))
    torch.testing.assert_close(weights, (values.double().exp() * UNITS), rtol=3e-7, atol=0.51)
    assert torch.equal(weights, weights.round())
    assert (weights.diff() <= 0).all()
    assert exponential(torch.zeros(1)).item() == 1.0


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e308])
def test_extreme_temperatures(temperature: float) -> None:
    """Without any, the likeliest token; with all, any token alike."""
    found = drawn(torch.tensor([1.0, 5.0, 4.0, 5.0]), [0.1, 0.4, 0.6, 0.9], temperature=temperature)
    assert found == ([1, 3, 2, 0] if temperature > 1 else [1, 1, 3, 3])


def test_banned_tokens_are_never_drawn_but_where_none_is_left_the_first() -> None:
    numbers = [place / 50 for place in range(50)]
    wanted = Wanted(50, banned=edits(1, [(0, 0), (0, 2)]), draws=Draws(1e6, 0, 1.0, [numbers]))
    (found,) = select_candidates(torch.zeros(1, 4), [1], [wanted])
    assert set(found.tokens[0].tolist()) == {1, 3}
    assert drawn(torch.full((4,), -math.inf), [0.0, 0.9]) == [0, 0]


def test_the_last_token_is_never_passed() -> None:
    assert drawn(torch.zeros(300), [math.nextafter(1.0, 0.0), 0.0]) == [299, 0]
