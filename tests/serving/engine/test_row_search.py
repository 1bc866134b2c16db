"""Greedy search and sampling fed with candidates written by hand."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from serving.engine.request import GeneratedSequence, GenerationParameters
from serving.engine.row_search import RowSearch
from serving.engine.runner import Candidates, Draws, Wanted
from tests.serving.engine.lists import candidates

EOS, START, VOCABULARY = 0, 4, 5


def search(**changes: Any) -> RowSearch:
    parameters = {"max_new_tokens": 5, "decoder_start_token_id": START, "eos_token_ids": (EOS,), **changes}
    return RowSearch(GenerationParameters(**parameters), VOCABULARY)


def best(*tokens: int, normalizers: tuple[float, ...] = ()) -> Candidates:
    """One candidate a row, of logit 1."""
    return candidates([[1.0] for _ in tokens], [[token] for token in tokens], normalizers)


def test_greedy_takes_the_likeliest_and_ends_at_eos() -> None:
    greedy = search()
    assert (greedy.tokens, greedy.wanted()) == ([START], Wanted(1))
    assert greedy.advance(best(2)) == [0]
    assert greedy.tokens == [2]
    assert greedy.advance(best(EOS)) == []
    assert greedy.sequences() == (GeneratedSequence((2, EOS), "eos"),)


def test_greedy_ends_at_its_length() -> None:
    greedy = search(max_new_tokens=1)
    assert greedy.advance(best(1)) == []
    assert greedy.sequences() == (GeneratedSequence((1,), "length"),)


def test_scores_are_of_unedited_logits_and_forced_tokens_count_nothing() -> None:
    """1 has logit 1 and normalizer 3; a second 1 had logit 1 * 1.5 before its penalty, and normalizer 4."""
    greedy = search(return_scores=True, repetition_penalty=1.5, forced_bos_token_id=3, length_penalty=2.0, max_new_tokens=3)
    assert greedy.wanted() == Wanted(0)
    assert greedy.advance(candidates([[]], [[]])) == [0]
    assert greedy.wanted().normalizers
    assert greedy.advance(best(1, normalizers=(3.0,))) == [0]
    assert greedy.advance(best(1, normalizers=(4.0,))) == []
    (sequence,) = greedy.sequences()
    assert sequence == GeneratedSequence((3, 1, 1), "length", (0.0 - 2.0 - 2.5) / 9, (0.0, -2.0, -2.5))


def test_samples_start_from_one_row_and_end_by_themselves() -> None:
    """All weight is on one token, so that what is drawn is known."""
    samples = search(do_sample=True, num_return_sequences=3, top_k=2)
    assert samples.tokens == [START]
    assert samples.wanted() == Wanted(2)
    assert samples.advance(candidates([[0.0, -math.inf]], [[1, 2]])) == [0, 0, 0]
    assert samples.tokens == [1, 1, 1]
    certain = [[0.0, -math.inf]] * 3
    assert samples.advance(candidates(certain, [[2, 1], [EOS, 1], [3, 1]])) == [0, 2]
    assert samples.tokens == [2, 3]
    assert samples.advance(candidates(certain[:2], [[EOS, 1], [EOS, 1]])) == []
    assert [sequence.token_ids for sequence in samples.sequences()] == [(1, 2, EOS), (1, EOS), (1, 3, EOS)]


@pytest.mark.parametrize(("top_k", "count"), [(0, 5), (3, 3), (9, 5)])
def test_sampling_asks_for_no_more_than_it_may_draw(top_k: int, count: int) -> None:
    assert search(do_sample=True, top_k=top_k).wanted().count == count


def test_sequences_of_one_request_are_drawn_apart_and_again_alike() -> None:
    flat = candidates([[0.0] * 4] * 8, [[1, 2, 3, 4]] * 8)

    def drawn(**changes: Any) -> list[tuple[int, ...]]:
        samples = search(do_sample=True, num_return_sequences=8, max_new_tokens=4, **changes)
        while samples.advance(flat):
            pass
        return [sequence.token_ids for sequence in samples.sequences()]

    assert len(set(drawn())) > 4
    assert drawn() == drawn(seed=0) != drawn(seed=1)


def test_among_many_tokens_the_runner_draws_with_a_number_of_each_sequence() -> None:
    parameters = GenerationParameters(
        5, START, (EOS,), do_sample=True, num_return_sequences=2, temperature=0.5, top_p=0.9, seed=3, return_scores=True
    )
    samples = RowSearch(parameters, 1000)
    first = samples.wanted()
    assert first.draws is not None
    (numbers,) = first.draws.numbers
    assert first.draws == Draws(0.5, 0, 0.9, [[Random(f"3/{sequence}").random() for sequence in range(2)]])
    assert (first.count, samples.wanted()) == (2, first)
    assert samples.advance(candidates([[1.0, 0.5]], [[7, 8]], [2.0])) == [0, 0]
    assert samples.tokens == [7, 8]
    second = samples.wanted()
    assert second.draws is not None
    assert [len(row) for row in second.draws.numbers] == [1, 1]
    assert not {*numbers} & {number for row in second.draws.numbers for number in row}
    assert samples.advance(candidates([[1.0], [0.0]], [[9], [EOS]], [2.0, 1.5])) == [0]
    samples.wanted()
    assert samples.advance(candidates([[1.0]], [[EOS]], [1.0])) == []
    found = [(sequence.token_ids, sequence.token_log_probabilities) for sequence in samples.sequences()]
    assert found == [((7, 9, EOS), (-1.0, -1.0, 0.0)), ((8, EOS), (-1.5, -1.5))]


def test_a_row_whose_logits_are_no_numbers_is_refused() -> None:
    with pytest.raises(FloatingPointError, match="no finite numbers"):
        search().advance(candidates([[math.nan]], [[0]]))
