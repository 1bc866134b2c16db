from __future__ import annotations

from typing import Any

import pytest

from serving.engine.constraints import Constraints, finish_reason, repeated_ngrams
from serving.engine.request import GenerationParameters
from serving.engine.runner import Wanted

EOS, START = 0, 4
SOURCE = (1, 2, 3, 1, 2, 4)


def parameters(**changes: Any) -> GenerationParameters:
    return GenerationParameters(**{"max_new_tokens": 5, "decoder_start_token_id": START, "eos_token_ids": (EOS,), **changes})


def constraints(**changes: Any) -> Constraints:
    return Constraints(parameters(**changes), SOURCE, 3, log_probabilities=True, normalizers=False)


def test_without_constraints_the_candidates_alone_are_wanted() -> None:
    assert constraints().wanted([[START], [START]]) == Wanted(3, log_probabilities=True)


def test_bans_are_of_each_row() -> None:
    """Below min_new_tokens eos is banned in every row, and with it what would repeat a bigram of the row."""
    wanted = constraints(min_new_tokens=4, no_repeat_ngram_size=2).wanted([[START, 1, 2, 1], [START, 1, 2, 3]])
    assert (wanted.count, wanted.log_probabilities, list(wanted.penalized)) == (3, True, [])
    assert wanted.banned == [(0, 2), (0, EOS), (1, EOS)]
    assert not constraints(min_new_tokens=3).wanted([[START, 1, 2, 1]]).banned


def test_each_token_of_a_row_is_penalized_once_the_start_too() -> None:
    wanted = constraints(repetition_penalty=1.5).wanted([[START, 1, 1], [START, 2, 3]])
    assert sorted(wanted.penalized) == [(0, 1), (0, START), (1, 2), (1, 3), (1, START)]
    assert wanted.repetition_penalty == 1.5


def test_of_a_forced_token_nothing_is_asked() -> None:
    """The forced end wins over the forced beginning, and both over what is banned."""
    forced = {"forced_bos_token_id": 3, "forced_eos_token_id": EOS, "min_new_tokens": 1}
    assert [constraints(**forced).forced(generated) for generated in range(5)] == [3, None, None, None, EOS]
    assert constraints(**forced, max_new_tokens=1).forced(0) == EOS
    assert constraints().forced(0) is None
    assert constraints(**forced).wanted([[START]]) == Wanted(0)


@pytest.mark.parametrize(("value", "expected"), [(-3.0, -2.0), (2.0, 3.0), (0.0, 0.0)])
def test_the_penalty_is_taken_out_again(value: float, expected: float) -> None:
    """Negative values were multiplied by 1.5, positive ones divided."""
    assert constraints(repetition_penalty=1.5).unedited(value, 2, [START, 2]) == expected
    assert constraints(repetition_penalty=1.5).unedited(value, 3, [START, 2]) == value


def test_repeated_ngrams_by_hand() -> None:
    assert repeated_ngrams([4, 1, 2, 1], 2) == {2}
    assert repeated_ngrams([1, 1, 1, 1], 2) == {1}
    assert repeated_ngrams([4, 1, 2, 1], 1) == {1, 2, 4}
    assert repeated_ngrams([1, 2, 3, 1, 2, 4, 1, 2], 3) == {3, 4}
    assert repeated_ngrams([4, 1, 2, 1], 5) == set()
    assert repeated_ngrams([4, 1], 3) == set()


def test_a_forced_end_counts_as_length() -> None:
    forced = parameters(forced_eos_token_id=EOS, max_new_tokens=2)
    assert finish_reason((1, EOS), forced) == "length"
    assert finish_reason((EOS,), forced) == "eos"
    assert finish_reason((1, EOS), parameters(max_new_tokens=2)) == "eos"
    assert finish_reason((1, 1), parameters(max_new_tokens=2)) == "length"
    assert finish_reason((1, 3), parameters(eos_token_ids=(EOS, 3))) == "eos"


def test_bad_words_are_banned_where_they_would_be_completed_but_a_lone_end() -> None:
    words = constraints(bad_words_ids=((3,), (EOS,), (1, 2), (1, EOS), (START, 1, 2, 4)))
    assert sorted(words.wanted([[START, 1], [START, 2]]).banned) == [(0, EOS), (0, 2), (0, 3), (1, 3)]
    assert sorted(words.wanted([[START, 1, 2]]).banned) == [(0, 3), (0, 4)]


def test_ngrams_of_the_source_are_banned() -> None:
    """Of (1, 2, 3, 1, 2, 4); of single tokens all are, wherever they stand."""
    assert sorted(constraints(encoder_no_repeat_ngram_size=3).wanted([[1, 2], [2, 3], [3, 2]]).banned) == [
        (0, 3),
        (0, 4),
        (1, 1),
    ]
    assert not constraints(encoder_no_repeat_ngram_size=3).wanted([[START]]).banned
    assert {token for _, token in constraints(encoder_no_repeat_ngram_size=1).wanted([[START]]).banned} == {1, 2, 3, 4}


def test_every_end_is_banned_before_the_shortest_length() -> None:
    ends = constraints(eos_token_ids=(EOS, 3), min_new_tokens=2)
    assert ends.wanted([[START, 1], [START, 2]]).banned == [(0, EOS), (0, 3), (1, EOS), (1, 3)]
    assert not ends.wanted([[START, 1, 1]]).banned
