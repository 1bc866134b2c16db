from __future__ import annotations

from typing import Any

import pytest

from serving.service.errors import ErrorCode, ServiceError
from serving.service.generation import GenerationDefaults
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
    return GenerationDefaults.read(config, eos_token_id=2, positions=1024, vocab_size=100)


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
        ({"num_beams": 65}, "num_beams = 65: 64 at most are decoded together, by max_batch_rows"),
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
            "num_return_sequences = 65: 64 at most are decoded together, by max_batch_rows",
        ),
    ],
)
def test_impossible_parameters_are_refused(requested: dict[str, Any], message: str) -> None:
    with pytest.raises(ServiceError) as refused:
        read(**BART_LARGE_CNN).resolve(GenerationParameters(**requested), SOURCE, 64)
    assert (refused.value.code, refused.value.message) == (ErrorCode.BAD_PARAMETER, message)
    assert refused.value.field == f"parameters.{message.partition(' ')[0]}"


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


def test_what_only_the_artifact_says_reaches_the_engine() -> None:
    defaults = read(bad_words_ids=[[5], [6, 7]], eos_token_id=[2, 9], early_stopping="never", encoder_no_repeat_ngram_size=3)
    parameters = defaults.resolve(GenerationParameters(), SOURCE, 64)
    assert (parameters.bad_words_ids, parameters.eos_token_ids) == (((5,), (6, 7)), (2, 9))
    assert (parameters.early_stopping, parameters.encoder_no_repeat_ngram_size) == ("never", 3)
    changed = defaults.resolve(GenerationParameters(early_stopping=True, encoder_no_repeat_ngram_size=0), SOURCE, 64)
    assert (changed.early_stopping, changed.encoder_no_repeat_ngram_size) == (True, 0)
