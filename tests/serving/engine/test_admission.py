from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from serving.engine.admission import check_cache_bytes, check_request
from serving.engine.errors import InvalidRequest, SourceTooLong
from serving.engine.request import GenerationParameters, Request
from serving.engine.settings import EngineSettings
from tests.serving.engine import idle_runner

ARCHITECTURE = replace(idle_runner.ARCHITECTURE, encoder_layers=1, max_position_embeddings=16)
GOOD = Request((5, 6, 2), GenerationParameters(max_new_tokens=15, decoder_start_token_id=2, eos_token_ids=(2,), num_beams=4))


def check(request: Request) -> None:
    check_request(request, ARCHITECTURE, EngineSettings(max_batch_rows=4))


def test_the_limits_themselves_are_accepted() -> None:
    check(GOOD)
    check(replace(GOOD, source_ids=(49,) * 16))
    check(changed(num_return_sequences=4, temperature=5e-324, top_k=0, top_p=1.0, seed=2**63 - 1, repetition_penalty=1000))
    check(changed(num_beams=1, do_sample=True, num_return_sequences=4, top_k=10**6, top_p=1e-9, repetition_penalty=0.001))
    check(replace(changed(num_beams=1, do_sample=True), stream=True))
    check_cache_bytes(100, 100)


def changed(**changes: Any) -> Request:
    return replace(GOOD, parameters=replace(GOOD.parameters, **changes))


@pytest.mark.parametrize("source_ids", [(), (50,), (-1,), (1.0,), (True,)])
def test_refused_sources(source_ids: Any) -> None:
    with pytest.raises(InvalidRequest, match="source_ids"):
        check(replace(GOOD, source_ids=source_ids))


def test_a_source_beyond_the_positions_is_named_as_such() -> None:
    with pytest.raises(SourceTooLong, match="17 tokens, the model takes at most 16"):
        check(replace(GOOD, source_ids=(5,) * 17))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_new_tokens", 0),
        ("max_new_tokens", 16),
        ("max_new_tokens", 3.0),
        ("min_new_tokens", -1),
        ("min_new_tokens", 16),
        ("num_beams", 0),
        ("num_beams", 5),
        ("no_repeat_ngram_size", -1),
        ("length_penalty", float("nan")),
        ("length_penalty", float("inf")),
        ("length_penalty", 10.5),
        ("length_penalty", "1"),
        ("length_penalty", True),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", -1.0),
        ("repetition_penalty", float("nan")),
        ("repetition_penalty", 1001),
        ("early_stopping", "always"),
        ("do_sample", 1),
        ("return_scores", None),
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("temperature", float("inf")),
        ("temperature", float("nan")),
        ("temperature", 10**400),
        ("temperature", True),
        ("temperature", "1"),
        ("top_k", -1),
        ("top_k", 5.0),
        ("top_k", True),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_p", float("nan")),
        ("top_p", None),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", 1.0),
        ("num_return_sequences", 0),
        ("num_return_sequences", 5),
        ("num_return_sequences", 1.0),
        ("decoder_start_token_id", 50),
        ("eos_token_ids", ()),
        ("eos_token_ids", (2, -1)),
        ("bad_words_ids", ((),)),
        ("bad_words_ids", ((5,), (6, 50))),
        ("encoder_no_repeat_ngram_size", -1),
        ("forced_bos_token_id", 50),
        ("forced_eos_token_id", 50),
    ],
)
def test_refused_parameters(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=field):
        check(changed(**{field: value}))


def test_sampling_beams_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="do_sample is true with num_beams = 4: num_beams = 1 is accepted"):
        check(changed(do_sample=True))


def test_greedy_search_has_one_answer() -> None:
    with pytest.raises(
        InvalidRequest, match="num_return_sequences is 2, accepted are whole numbers from 1 to num_beams = 1"
    ):
        check(changed(num_beams=1, num_return_sequences=2))


def test_more_draws_than_rows_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="num_return_sequences is 5, accepted are whole numbers from 1 to 4"):
        check(changed(num_beams=1, do_sample=True, num_return_sequences=5))


def test_of_several_sequences_none_is_streamed() -> None:
    check(replace(changed(num_return_sequences=1), stream=True))
    with pytest.raises(InvalidRequest, match="stream is true with num_return_sequences = 2: one sequence can be streamed"):
        check(replace(changed(num_beams=1, do_sample=True, num_return_sequences=2), stream=True))
    with pytest.raises(InvalidRequest, match="stream is 1, true or false is expected"):
        check(replace(GOOD, stream=1))


def test_more_cache_than_there_may_be_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="may take 101 bytes, max_cache_bytes is 100"):
        check_cache_bytes(101, 100)
