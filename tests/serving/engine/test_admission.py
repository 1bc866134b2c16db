from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from quant.layout import Architecture
from serving.engine.admission import check_request
from serving.engine.errors import InvalidRequest, SourceTooLong
from serving.engine.request import GenerationParameters, Request
from serving.engine.settings import EngineSettings

ARCHITECTURE = Architecture(
    model_type="bart",
    vocab_size=50,
    d_model=8,
    encoder_layers=1,
    decoder_layers=1,
    encoder_attention_heads=1,
    decoder_attention_heads=1,
    encoder_ffn_dim=8,
    decoder_ffn_dim=8,
    max_position_embeddings=16,
    activation_function="gelu",
    scale_embedding=False,
    pad_token_id=1,
    bos_token_id=0,
    eos_token_id=2,
    decoder_start_token_id=2,
)
GOOD = Request((5, 6, 2), GenerationParameters(max_new_tokens=15, decoder_start_token_id=2, eos_token_id=2, num_beams=4))


def check(request: Request) -> None:
    check_request(request, ARCHITECTURE, EngineSettings(max_batch_rows=4))


def test_the_limits_themselves_are_accepted() -> None:
    check(GOOD)
    check(replace(GOOD, source_ids=(49,) * 16))


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
        ("early_stopping", "never"),
        ("decoder_start_token_id", 50),
        ("eos_token_id", -1),
        ("forced_bos_token_id", 50),
        ("forced_eos_token_id", 50),
    ],
)
def test_refused_parameters(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=field):
        check(replace(GOOD, parameters=replace(GOOD.parameters, **{field: value})))
