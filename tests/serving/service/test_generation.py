from __future__ import annotations

from typing import Any

import pytest

from serving.service.errors import ErrorCode, ServiceError
from serving.service.generation import GenerationConfigError, GenerationDefaults
from serving.service.requests import GenerationParameters
from serving.service.text import EncodedSource

SOURCE = EncodedSource((5, 2), decoder_start_token_id=2, forced_bos_token_id=7)
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


def read(**config: Any) -> GenerationDefaults:
    return GenerationDefaults.read(config, eos_token_id=2, max_positions=1024)


def test_lengths_of_the_file_count_the_start_token_ours_do_not() -> None:
    defaults = read(**BART_LARGE_CNN)
    assert (defaults.max_new_tokens, defaults.min_new_tokens) == (141, 55)
    assert (defaults.num_beams, defaults.length_penalty, defaults.early_stopping) == (4, 2.0, True)
    assert (defaults.no_repeat_ngram_size, defaults.eos_token_id, defaults.forced_eos_token_id) == (3, 2, 2)


def test_new_token_lengths_count_as_they_are() -> None:
    defaults = read(max_new_tokens=20, max_length=99, min_new_tokens=3)
    assert (defaults.max_new_tokens, defaults.min_new_tokens) == (20, 3)


def test_an_empty_file_means_greedy_search_to_the_last_position() -> None:
    defaults = read()
    assert (defaults.num_beams, defaults.max_new_tokens, defaults.min_new_tokens) == (1, 1023, 0)
    assert (defaults.eos_token_id, defaults.forced_eos_token_id) == (2, None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"do_sample": True, "num_beams": 4}, "do_sample with num_beams = 4 is not supported, sampling has one beam"),
        ({"repetition_penalty": 0}, "repetition_penalty = 0: "),
        ({"temperature": "hot"}, "temperature = 'hot': "),
        ({"num_beams": 0}, "num_beams = 0: "),
        ({"min_p": 0.1}, "min_p = 0.1 is not supported"),
        ({"num_return_sequences": 2}, "num_return_sequences = 2 is not supported"),
        ({"bad_words_ids": [[1]]}, "bad_words_ids = "),
        ({"early_stopping": "never"}, "early_stopping = 'never' is not supported"),
        ({"eos_token_id": [2, 3]}, r"eos_token_id = \[2, 3\] is not supported"),
        ({"max_length": 2000}, "at most 1999 new tokens, 1 to 1023 are possible"),
        ({"max_length": 10, "min_length": 20}, "at least 19 new tokens, but at most 9"),
    ],
)
def test_what_the_engine_cannot_follow_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(GenerationConfigError, match=message):
        read(**config)


def test_every_fault_is_listed() -> None:
    with pytest.raises(GenerationConfigError, match=r"num_beam_groups.*; at most.*; top_p"):
        read(top_p=2.0, num_beam_groups=2, max_length=5000)


def test_requests_override_defaults_one_by_one() -> None:
    parameters = read(**BART_LARGE_CNN).resolve(GenerationParameters(num_beams=1, early_stopping=False), SOURCE, 64)
    assert (parameters.num_beams, parameters.early_stopping, parameters.max_new_tokens) == (1, False, 141)
    assert (parameters.decoder_start_token_id, parameters.forced_bos_token_id) == (2, 7)


def test_asking_for_a_short_output_lowers_the_default_minimum() -> None:
    parameters = read(**BART_LARGE_CNN).resolve(GenerationParameters(max_new_tokens=10), SOURCE, 64)
    assert (parameters.min_new_tokens, parameters.max_new_tokens) == (10, 10)


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"max_new_tokens": 1024}, "max_new_tokens = 1024: the model generates 1023 at most"),
        ({"max_new_tokens": 5, "min_new_tokens": 6}, "min_new_tokens = 6: max_new_tokens is 5"),
        ({"min_new_tokens": 200}, "min_new_tokens = 200: max_new_tokens is 141"),
        ({"num_beams": 65}, "num_beams = 65: the server allows 64 at most"),
        (
            {"num_beams": 2, "do_sample": True},
            "do_sample = true: num_beams is 2, sampling has one beam; leave one of them out",
        ),
        (
            {"num_return_sequences": 5},
            "num_return_sequences = 5: num_beams is 4, and there are as many outputs at most; do_sample gives more",
        ),
        (
            {"num_beams": 1, "num_return_sequences": 2},
            "num_return_sequences = 2: num_beams is 1, and there are as many outputs at most; do_sample gives more",
        ),
        (
            {"do_sample": True, "num_return_sequences": 65},
            "num_return_sequences = 65: the server allows 64 at most",
        ),
    ],
)
def test_impossible_parameters_are_refused(requested: dict[str, Any], message: str) -> None:
    with pytest.raises(ServiceError) as refused:
        read(**BART_LARGE_CNN).resolve(GenerationParameters(**requested), SOURCE, 64)
    assert (refused.value.code, refused.value.message) == (ErrorCode.BAD_PARAMETER, message)
    assert refused.value.field == f"parameters.{message.partition(' ')[0]}"


def test_sampling_is_as_in_the_file_and_in_transformers_else() -> None:
    defaults = read(temperature=0.7, top_p=0.9, repetition_penalty=1.2)
    assert (defaults.temperature, defaults.top_p, defaults.repetition_penalty) == (0.7, 0.9, 1.2)
    assert (defaults.do_sample, defaults.top_k) == (False, 50)


def test_asking_for_sampling_means_one_beam() -> None:
    parameters = read(**BART_LARGE_CNN).resolve(GenerationParameters(do_sample=True), SOURCE, 64)
    assert (parameters.do_sample, parameters.num_beams) == (True, 1)


def test_asking_for_beams_ends_sampling() -> None:
    defaults = read(do_sample=True)
    assert defaults.resolve(GenerationParameters(), SOURCE, 64).do_sample
    parameters = defaults.resolve(GenerationParameters(num_beams=2), SOURCE, 64)
    assert (parameters.do_sample, parameters.num_beams) == (False, 2)


def test_draws_are_as_many_as_asked_for() -> None:
    requested = GenerationParameters(do_sample=True, num_return_sequences=64)
    assert read(**BART_LARGE_CNN).resolve(requested, SOURCE, 64).num_return_sequences == 64


def test_a_seed_is_drawn_for_draws_alone_and_unless_given() -> None:
    defaults = read(**BART_LARGE_CNN)
    drawn = {defaults.resolve(GenerationParameters(do_sample=True), SOURCE, 64).seed for _ in range(3)}
    assert len(drawn) > 1
    assert defaults.resolve(GenerationParameters(do_sample=True, seed=0), SOURCE, 64).seed == 0
    assert defaults.resolve(GenerationParameters(), SOURCE, 64).seed == 0


def test_defaults_are_shown_as_a_request_would_spell_them() -> None:
    defaults = read(**BART_LARGE_CNN)
    assert defaults.resolve(defaults.requested(), SOURCE, 64) == defaults.resolve(GenerationParameters(), SOURCE, 64)


@pytest.mark.parametrize("key", ["max_length", "max_new_tokens", "min_length", "min_new_tokens", "num_beams"])
@pytest.mark.parametrize("value", ["12", [12], {}, True])
def test_a_length_that_is_no_number(key: str, value: object) -> None:
    with pytest.raises(GenerationConfigError, match=rf"{key} = .* is not supported, a number is"):
        GenerationDefaults.read({key: value, "do_sample": True}, 2, 64)


@pytest.mark.parametrize("given", [[""], [[2]], [2, 3], "2", True])
def test_an_end_token_is_one_id(given: object) -> None:
    with pytest.raises(GenerationConfigError, match=r"eos_token_id = .* is not supported, one id is"):
        GenerationDefaults.read({"eos_token_id": given}, eos_token_id=2, max_positions=64)
