"""Searches fed with logits written by hand. The comparison with `generate` is in test_engine_against_generate."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from serving.engine.request import GenerationParameters
from serving.engine.search import BeamSearch, GreedySearch, finish_reason, processed, repeated_ngrams, search_for

EOS, START = 0, 4


def parameters(**changes: Any) -> GenerationParameters:
    return GenerationParameters(**{"max_new_tokens": 5, "decoder_start_token_id": START, "eos_token_id": EOS, **changes})


def logits(*rows: list[float]) -> torch.Tensor:
    """Probabilities as logits; they need not add up to 1."""
    return torch.tensor(rows).log()


def test_greedy_takes_the_likeliest_and_ends_at_eos() -> None:
    search = search_for(parameters(length_penalty=2.0))
    assert isinstance(search, GreedySearch)
    assert search.tokens == [START]
    assert search.advance(logits([0.1, 0.2, 0.6, 0.05, 0.05])) == [0]
    assert search.tokens == [2]
    assert search.advance(logits([0.5, 0.2, 0.1, 0.1, 0.1])) == []
    best = search.best()
    assert best.token_ids == (2, EOS)
    assert best.finish_reason == "eos"
    assert best.score == pytest.approx((math.log(0.6) + math.log(0.5)) / 4)


def test_greedy_ends_at_its_length() -> None:
    search = GreedySearch(parameters(max_new_tokens=1))
    assert search.advance(logits([0.1, 0.9, 0.0, 0.0, 0.0])) == []
    assert search.best().finish_reason == "length"


def test_beams_find_what_greedy_misses() -> None:
    """1 then eos has 0.6 * 0.4 = 0.24; 2 then eos 0.4 * 0.9 = 0.36, though 1 is the likelier start."""
    search = search_for(parameters(num_beams=2, length_penalty=0.0, early_stopping=True, max_new_tokens=2))
    assert isinstance(search, BeamSearch)
    assert search.tokens == [START]
    assert search.advance(logits([0.0, 0.6, 0.4, 0.0, 0.0])) == [0, 0]
    assert search.tokens == [1, 2]
    assert search.advance(logits([0.4, 0.2, 0.2, 0.2, 0.0], [0.9, 0.1, 0.0, 0.0, 0.0])) == []
    best = search.best()
    assert best.token_ids == (2, EOS)
    assert best.score == pytest.approx(math.log(0.36))


def test_beams_reorder_their_rows() -> None:
    """Both survivors continue the second row."""
    search = BeamSearch(parameters(num_beams=2))
    search.advance(logits([0.0, 0.5, 0.5, 0.0, 0.0]))
    flat, sharp = [0.2, 0.2, 0.2, 0.2, 0.2], [0.0, 0.5, 0.5, 0.0, 0.0]
    rows = search.advance(logits(flat, sharp) if search.tokens == [1, 2] else logits(sharp, flat))
    assert rows == ([1, 1] if rows[0] == 1 else [0, 0])
    assert sorted(search.tokens) == [1, 2]


@pytest.mark.parametrize(("penalty", "expected"), [(-2.0, (EOS,)), (2.0, (1, 1, EOS))])
def test_length_penalty_chooses_between_short_and_long(penalty: float, expected: tuple[int, ...]) -> None:
    """eos at once has log 0.3 = -1.2, the sequence of three tokens about log 0.7 = -0.37, times 9 or over 9."""
    search = BeamSearch(parameters(num_beams=2, length_penalty=penalty, max_new_tokens=3))
    rows = search.advance(logits([0.3, 0.7, 0.0, 0.0, 0.0]))
    for probabilities in ([0.01, 0.99, 0.0, 0.0, 0.0], [0.99, 0.01, 0.0, 0.0, 0.0]):
        rows = search.advance(logits(*[probabilities] * len(rows)))
    assert rows == []
    assert search.best().token_ids == expected


def test_repeated_ngrams_by_hand() -> None:
    sequences = torch.tensor([[4, 1, 2, 1], [1, 1, 1, 1]])
    assert repeated_ngrams(sequences, 2, 5).tolist() == [
        [False, False, True, False, False],
        [False, True, False, False, False],
    ]
    assert repeated_ngrams(sequences, 1, 5)[0].tolist() == [False, True, True, False, True]
    assert not repeated_ngrams(sequences[:1], 5, 5).any()
    assert not repeated_ngrams(sequences[:, :2], 3, 5).any()


def test_constraints_in_order() -> None:
    """A forced token wins over a forbidden one, the forced end over the forced begin."""
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    inf = math.inf
    start, later = torch.tensor([[START]]), torch.tensor([[START, 1, 2]])
    assert processed(scores, later, parameters()).tolist() == [[1, 2, 3, 4, 5]]
    assert processed(scores, later, parameters(min_new_tokens=3)).tolist() == [[-inf, 2, 3, 4, 5]]
    assert processed(scores, later, parameters(min_new_tokens=2)).tolist() == [[1, 2, 3, 4, 5]]
    assert processed(scores, later, parameters(no_repeat_ngram_size=1)).tolist() == [[1, -inf, -inf, 4, -inf]]
    forced = parameters(forced_bos_token_id=3, forced_eos_token_id=EOS, min_new_tokens=1)
    assert processed(scores, start, forced).tolist() == [[-inf, -inf, -inf, 0, -inf]]
    assert processed(scores, later, forced).tolist() == [[1, 2, 3, 4, 5]]
    one = parameters(forced_bos_token_id=3, forced_eos_token_id=EOS, max_new_tokens=1)
    assert processed(scores, start, one).tolist() == [[0, -inf, -inf, -inf, -inf]]
    assert scores.tolist() == [[1, 2, 3, 4, 5]]


def test_a_forced_end_counts_as_length() -> None:
    forced = parameters(forced_eos_token_id=EOS, max_new_tokens=2)
    assert finish_reason((1, EOS), forced) == "length"
    assert finish_reason((EOS,), forced) == "eos"
    assert finish_reason((1, EOS), parameters(max_new_tokens=2)) == "eos"
    assert finish_reason((1, 1), parameters(max_new_tokens=2)) == "length"
