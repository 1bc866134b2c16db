from __future__ import annotations

from typing import Any

import pytest

from quant.generation import GenerationConfigError, GenerationSettings, has_length

BART_LARGE_CNN = {
    "max_length": 142,
    "min_length": 56,
    "num_beams": 4,
    "length_penalty": 2.0,
    "early_stopping": True,
    "no_repeat_ngram_size": 3,
    "forced_eos_token_id": 2,
    "eos_token_id": 2,
    "bos_token_id": 0,
    "do_sample": False,
    "repetition_penalty": None,
}


def read(**entries: Any) -> GenerationSettings:
    return GenerationSettings.read(entries, eos_token_id=2, positions=1024, vocab_size=100)


def test_lengths_of_the_file_count_the_start_token_ours_do_not() -> None:
    settings = read(**BART_LARGE_CNN)
    assert (settings.max_new_tokens, settings.min_new_tokens, settings.most_new_tokens) == (141, 55, 1023)
    assert (settings.num_beams, settings.length_penalty, settings.early_stopping) == (4, 2.0, True)
    assert (settings.no_repeat_ngram_size, settings.eos_token_ids, settings.forced_eos_token_id) == (3, (2,), 2)


def test_new_token_lengths_win_and_count_as_they_are() -> None:
    settings = read(max_new_tokens=20, max_length=99, min_new_tokens=3, min_length=50)
    assert (settings.max_new_tokens, settings.min_new_tokens) == (20, 3)


def test_an_empty_file_means_greedy_search_to_the_last_position() -> None:
    settings = read()
    assert (settings.num_beams, settings.max_new_tokens, settings.min_new_tokens) == (1, 1023, 0)
    assert (settings.eos_token_ids, settings.forced_eos_token_id, settings.bad_words_ids) == ((2,), None, ())
    assert (settings.early_stopping, settings.encoder_no_repeat_ngram_size) == (False, 0)
    assert (settings.do_sample, settings.temperature, settings.top_k, settings.top_p) == (False, 1.0, 50, 1.0)


@pytest.mark.parametrize(("given", "ends"), [(7, (7,)), ([7], (7,)), ([2, 7, 2], (2, 7))])
def test_each_of_several_tokens_may_end_an_output(given: object, ends: tuple[int, ...]) -> None:
    assert read(eos_token_id=given).eos_token_ids == ends


def test_a_forced_end_may_be_written_as_a_list_of_one() -> None:
    assert read(forced_eos_token_id=[2]).forced_eos_token_id == 2


def test_the_settings_of_large_checkpoints_are_taken() -> None:
    settings = read(early_stopping="never", encoder_no_repeat_ngram_size=4, bad_words_ids=[[5], [6, 7]])
    assert (settings.early_stopping, settings.encoder_no_repeat_ngram_size) == ("never", 4)
    assert settings.bad_words_ids == ((5,), (6, 7))


@pytest.mark.parametrize(
    "entries",
    [
        {},
        BART_LARGE_CNN,
        {"early_stopping": "never", "bad_words_ids": [[5], [6, 7]], "eos_token_id": [2, 7], "max_length": 9},
        {"do_sample": True, "temperature": 0.7, "top_k": 0, "top_p": 0.9, "min_new_tokens": 3},
    ],
)
def test_what_is_written_is_read_again(entries: dict[str, Any]) -> None:
    settings = read(**entries)
    assert read(**settings.entries()) == settings


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"do_sample": True, "num_beams": 4}, "do_sample with num_beams = 4 is not supported, sampling has one beam"),
        ({"do_sample": 1}, "do_sample = 1 is not supported, true and false are"),
        ({"repetition_penalty": 0}, "repetition_penalty = 0 is not supported, a number of at least 0.001 and at most 1000"),
        ({"temperature": "hot"}, "temperature = 'hot' is not supported, a number is"),
        ({"temperature": float("inf")}, "temperature = inf is not supported, a number above 0 is"),
        ({"length_penalty": float("nan")}, "length_penalty = nan is not supported"),
        ({"num_beams": 0}, "num_beams = 0 is not supported, a whole number of at least 1 is"),
        ({"num_beams": 2.0}, "num_beams = 2.0 is not supported, a whole number is"),
        ({"no_repeat_ngram_size": 2000}, "no_repeat_ngram_size = 2000 is not supported, .* at most 1023 is"),
        ({"min_p": 0.1}, "min_p = 0.1 is not supported"),
        ({"stop_strings": ["."]}, r"stop_strings = \['.'\] is not supported"),
        ({"max_time": 2.0}, "max_time = 2.0 is not supported"),
        ({"num_return_sequences": 2}, "num_return_sequences = 2 is not supported"),
        ({"bad_words_ids": [[1], []]}, r"bad_words_ids = .* is not supported, a list of lists of tokens"),
        ({"bad_words_ids": [[100]]}, r"bad_words_ids = \[\[100\]\] is not supported, .* \(0 to 99\)"),
        ({"bad_words_ids": 5}, "bad_words_ids = 5 is not supported"),
        ({"early_stopping": "always"}, "early_stopping = 'always' is not supported, true, false and 'never' are"),
        ({"early_stopping": 1}, "early_stopping = 1 is not supported"),
        ({"eos_token_id": 100}, r"eos_token_id = 100 is not supported, a token of the vocabulary \(0 to 99\) or a list"),
        ({"forced_eos_token_id": [2, 3]}, r"forced_eos_token_id = \[2, 3\] is not supported, one token"),
        ({"max_length": 2000}, "at most 1999 new tokens, 1 to 1023 are possible"),
        ({"max_length": 1}, "at most 0 new tokens, 1 to 1023 are possible"),
        ({"max_length": 10, "min_length": 20}, "at least 19 new tokens, but at most 9"),
    ],
)
def test_what_the_engine_cannot_follow_is_refused(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(GenerationConfigError, match=message):
        read(**entries)


def test_every_fault_is_listed() -> None:
    with pytest.raises(GenerationConfigError, match=r"num_beam_groups.*; top_p.*; at most"):
        read(top_p=2.0, num_beam_groups=2, max_length=5000)


@pytest.mark.parametrize("name", ["max_length", "max_new_tokens", "min_length", "min_new_tokens", "num_beams"])
@pytest.mark.parametrize("value", ["12", [12], {}, True])
def test_a_length_that_is_no_number(name: str, value: object) -> None:
    with pytest.raises(GenerationConfigError, match=rf"{name} = .* is not supported, a whole number is"):
        read(**{name: value, "do_sample": True})


@pytest.mark.parametrize("given", [[""], [[2]], [], "2", True, -1, 10**400])
def test_an_end_token_is_a_token(given: object) -> None:
    with pytest.raises(GenerationConfigError, match=r"eos_token_id = .* is not supported"):
        read(eos_token_id=given)


def test_long_values_are_shown_in_part() -> None:
    with pytest.raises(GenerationConfigError) as refused:
        read(eos_token_id=list(range(100, 5000)))
    assert len(str(refused.value)) < 300


def test_a_length_is_said_by_either_name() -> None:
    assert has_length({"max_length": 5})
    assert has_length({"max_new_tokens": 5})
    assert not has_length({"max_length": None, "min_length": 3})
