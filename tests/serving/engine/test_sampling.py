"""The distribution that is drawn from is that of the warpers of `transformers`, and draws follow it."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from serving.engine.history import History
from serving.engine.pytorch.candidates import select_candidates
from serving.engine.request import GenerationParameters
from serving.engine.row_search import RowSearch
from serving.engine.sampling import Sampler, summed_weights

VOCABULARY, EOS, START = 40, 0, 1


@given(
    seed=st.integers(0, 2**32 - 1),
    temperature=st.floats(0.1, 5.0),
    top_k=st.integers(0, VOCABULARY + 5),
    top_p=st.one_of(st.just(1.0), st.floats(0.05, 0.99)),
    repetition_penalty=st.floats(0.5, 2.0),
    no_repeat_ngram_size=st.integers(0, 2),
    min_new_tokens=st.integers(0, 9),
)
def test_the_distribution_is_that_of_transformers(seed: int, **sampling: Any) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 12, (1, 8), generator=generator)
    logits = 3 * torch.randn(1, VOCABULARY, generator=generator)
    search = RowSearch(GenerationParameters(20, START, (EOS,), do_sample=True, **sampling), VOCABULARY)
    constraints = search._constraints
    history = History.of([])
    for token in ids[0].tolist():
        history.append(token)
        constraints.noted(history)
    (found,) = select_candidates(logits, [1], [constraints.wanted([history])])
    values, tokens = found.values[0].tolist(), found.tokens[0]
    summed = summed_weights(values, sampling["temperature"], sampling["top_p"])
    # Where a sum is at top_p to the last bits, float32 may keep a token more or less.
    whole = summed_weights(values, sampling["temperature"], 1.0)
    assume(sampling["top_p"] == 1.0 or all(abs(each / whole[-1] - sampling["top_p"]) > 1e-5 for each in whole))
    ours = torch.zeros(VOCABULARY)
    kept = torch.from_numpy(tokens[: len(summed)])
    ours[kept] = torch.tensor(summed).diff(prepend=torch.zeros(1)) / summed[-1]
    theirs = torch.softmax(warped(ids, logits, **sampling), -1)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def warped(
    ids: torch.Tensor,
    logits: torch.Tensor,
    temperature: float,
    top_k: int,
    top_p: float,
    repetition_penalty: float,
    no_repeat_ngram_size: int,
    min_new_tokens: int,
) -> torch.Tensor:
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(repetition_penalty)])
    if no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(no_repeat_ngram_size))
    processors.append(MinNewTokensLengthLogitsProcessor(1, min_new_tokens, EOS))
    processors.append(TemperatureLogitsWarper(temperature))
    if top_k:
        processors.append(TopKLogitsWarper(top_k))
    if top_p < 1.0:
        processors.append(TopPLogitsWarper(top_p))
    return processors(ids, logits)


def test_weights_by_hand() -> None:
    """Probabilities 1/2, 1/4, 1/8, 1/8; with the square root of each the first two are in the ratio of 1 to 0.707."""
    logits = [math.log(share) for share in (0.5, 0.25, 0.125, 0.125)]
    assert summed_weights(logits, 1.0, 1.0) == pytest.approx([1.0, 1.5, 1.75, 2.0])
    assert summed_weights(logits, 2.0, 1.0)[:2] == pytest.approx([1.0, 1.0 + math.sqrt(0.5)])
    assert len(summed_weights(logits, 1.0, 0.4)) == 1
    assert len(summed_weights(logits, 1.0, 0.6)) == 2
    assert len(summed_weights(logits, 1.0, 0.8)) == 3
    assert len(summed_weights(logits, 1.0, 0.99)) == 4


def test_extreme_temperatures() -> None:
    assert summed_weights([5.0, 4.0], 5e-324, 1.0) == [1.0, 1.0]
    assert summed_weights([5.0, 4.0], 1e308, 1.0) == [1.0, 2.0]


def test_banned_tokens_are_never_drawn() -> None:
    sampler = Sampler(GenerationParameters(20, START, (EOS,), do_sample=True, temperature=100.0), 0)
    assert {sampler.draw([1.0, 0.5, -math.inf, -math.inf]) for _ in range(200)} == {0, 1}
    assert sampler.draw([-math.inf, -math.inf]) == 0


def test_draws_have_their_frequencies() -> None:
    """20,000 draws with a fixed seed: each count within four standard deviations."""
    draws = 20_000
    shares = [0.4, 0.3, 0.2, 0.07, 0.03]
    sampler = Sampler(GenerationParameters(20, START, (EOS,), do_sample=True, seed=11), 0)
    counts = Counter(sampler.draw([math.log(share) for share in shares]) for _ in range(draws))
    for place, share in enumerate(shares):
        assert abs(counts[place] - draws * share) < 4 * math.sqrt(draws * share * (1 - share))
