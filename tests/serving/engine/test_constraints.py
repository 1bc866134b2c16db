from __future__ import annotations

import math
from typing import Any

import pytest

from serving.engine.constraints import Constraints, check_numbers, finish_reason
from serving.engine.history import History
from serving.engine.request import GenerationParameters
from serving.engine.runner import Draws, Wanted
from tests.serving.engine.lists import pairs

EOS, START = 0, 4
SOURCE = (1, 2, 3, 1, 2, 4)


def parameters(**changes: Any) -> GenerationParameters:
    return GenerationParameters(**{"max_new_tokens": 5, "decoder_start_token_id": START, "eos_token_ids": (EOS,), **changes})


def constraints(**changes: Any) -> Constraints:
    return Constraints(parameters(**changes), SOURCE, 3, log_probabilities=True, normalizers=False)


def wanted(given: Constraints, *rows: list[int]) -> Wanted:
    """After sequences with these ids."""
    histories = [given.noted(History.of(ids[:1])) for ids in rows]
    for place in range(1, len(rows[0])):
        for history, ids in zip(histories, rows, strict=True):
            history.append(ids[place])
            given.noted(history)
    return given.wanted(histories)


def test_without_constraints_the_candidates_alone_are_wanted() -> None:
    assert wanted(constraints(), [START], [START]) == Wanted(3, log_probabilities=True)


def test_bans_are_of_each_row() -> None:
    """Below min_new_tokens eos is banned in every row, and with it what would repeat a bigram of the row."""
    found = wanted(constraints(min_new_tokens=4, no_repeat_ngram_size=2), [START, 1, 2, 1], [START, 1, 2, 3])
    assert (found.count, found.log_probabilities, found.penalized) == (3, True, None)
    assert pairs(found.banned) == [(0, EOS), (0, 2), (1, EOS)]
    assert wanted(constraints(min_new_tokens=3), [START, 1, 2, 1]).banned is None


def test_what_is_wanted_of_every_step_alike_is_the_same_object() -> None:
    """Runners keep what they make of it."""
    given = constraints(bad_words_ids=((3,),))
    assert wanted(given, [START, 1]) is wanted(given, [START, 1, 2])


def test_each_token_of_a_row_is_penalized_once_the_start_too() -> None:
    found = wanted(constraints(repetition_penalty=1.5), [START, 1, 1], [START, 3, 2])
    assert pairs(found.penalized) == [(0, 1), (0, START), (1, 2), (1, 3), (1, START)]
    assert found.repetition_penalty == 1.5


def test_draws_are_asked_for_with_the_same_edits() -> None:
    given = constraints(bad_words_ids=((3,),))
    draws = Draws(1.0, 0, 1.0, [[0.5, 0.25]])
    found = given.wanted([given.begun()], draws)
    assert (found.count, found.draws, pairs(found.banned)) == (2, draws, [(0, 3)])


def test_of_a_forced_token_nothing_is_asked() -> None:
    """The forced end wins over the forced beginning, and both over what is banned."""
    forced = {"forced_bos_token_id": 3, "forced_eos_token_id": EOS, "min_new_tokens": 1}
    assert [constraints(**forced).forced(generated) for generated in range(5)] == [3, None, None, None, EOS]
    assert constraints(**forced, max_new_tokens=1).forced(0) == EOS
    assert constraints().forced(0) is None
    assert wanted(constraints(**forced), [START]) == Wanted(0)


@pytest.mark.parametrize(("value", "expected"), [(-3.0, -2.0), (2.0, 3.0), (0.0, 0.0)])
def test_the_penalty_is_taken_out_again(value: float, expected: float) -> None:
    """Negative values were multiplied by 1.5, positive ones divided."""
    assert constraints(repetition_penalty=1.5).unedited(value, 2, History.of([START, 2])) == expected
    assert constraints(repetition_penalty=1.5).unedited(value, 3, History.of([START, 2])) == value


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    check_numbers([-math.inf, 3.0])
    with pytest.raises(FloatingPointError, match="no finite numbers"):
        check_numbers([1.0, value])


def test_a_forced_end_counts_as_length() -> None:
    forced = parameters(forced_eos_token_id=EOS, max_new_tokens=2)
    assert finish_reason((1, EOS), forced) == "length"
    assert finish_reason((EOS,), forced) == "eos"
    assert finish_reason((1, EOS), parameters(max_new_tokens=2)) == "eos"
    assert finish_reason((1, 1), parameters(max_new_tokens=2)) == "length"
    assert finish_reason((1, 3), parameters(eos_token_ids=(EOS, 3))) == "eos"


def test_bad_words_are_banned_where_they_would_be_completed_but_a_lone_end() -> None:
    given = constraints(bad_words_ids=((3,), (EOS,), (1, 2), (1, EOS), (START, 1, 2, 4)))
    assert pairs(wanted(given, [START, 1], [START, 2]).banned) == [(0, EOS), (0, 2), (0, 3), (1, 3)]
    assert pairs(wanted(given, [START, 1, 2]).banned) == [(0, 3), (0, 4)]


def test_ngrams_of_the_source_are_banned() -> None:
    """Of (1, 2, 3, 1, 2, 4); of single tokens all are, wherever they stand."""
    given = constraints(encoder_no_repeat_ngram_size=3)
    assert pairs(wanted(given, [1, 2], [2, 3], [3, 2]).banned) == [(0, 3), (0, 4), (1, 1)]
    assert wanted(given, [START]).banned is None
    single = constraints(encoder_no_repeat_ngram_size=1)
    assert pairs(wanted(single, [START]).banned) == [(0, 1), (0, 2), (0, 3), (0, 4)]


def test_every_end_is_banned_before_the_shortest_length() -> None:
    ends = constraints(eos_token_ids=(EOS, 3), min_new_tokens=2)
    assert pairs(wanted(ends, [START, 1], [START, 2]).banned) == [(0, EOS), (0, 3), (1, EOS), (1, 3)]
    assert wanted(ends, [START, 1, 1]).banned is None
