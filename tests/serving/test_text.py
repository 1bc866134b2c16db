from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.artifact import read_artifact
from quant.card import Card
from serving.errors import ErrorCode, ServiceError
from serving.text import TextCodec, TokenizerError


@pytest.fixture(scope="module")
def card(artifacts: dict[str, Path]) -> Card:
    return read_artifact(artifacts["translator"]).card


@pytest.fixture(scope="module")
def codec(artifacts: dict[str, Path], card: Card) -> TextCodec:
    return TextCodec(artifacts["translator"], card, 100)


def test_languages_surround_the_text_as_the_card_says(codec: TextCodec) -> None:
    encoded = codec.encode({"source": "guten morgen"}, "de_DE", "en_XX")
    # The special tokens come first in the vocabulary: <s> 0, <pad> 1, </s> 2, <unk> 3, <mask> 4, de_DE 5, en_XX 6.
    assert (encoded.source_ids[0], encoded.source_ids[-1]) == (5, 2)
    assert (encoded.decoder_start_token_id, encoded.forced_bos_token_id) == (2, 6)


def test_truncation_in_the_tokenizer_file_is_switched_off(codec: TextCodec) -> None:
    assert len(codec.encode({"source": "guten morgen welt"}, "de_DE", "en_XX").source_ids) > 8


def test_decoding_leaves_special_tokens_and_outer_spaces_out(codec: TextCodec) -> None:
    text_ids = codec.encode({"source": "guten morgen"}, "de_DE", "en_XX").source_ids[1:-1]
    assert codec.decode([2, 6, *text_ids, 2]) == "guten morgen"


def test_too_long_inputs_are_refused_with_both_lengths(codec: TextCodec) -> None:
    tokens = len(codec.encode({"source": "guten morgen"}, "de_DE", "en_XX").source_ids)
    with pytest.raises(ServiceError, match=r"the input has \d+ tokens, the model reads 48 at most") as refused:
        codec.encode({"source": "guten morgen " * tokens}, "de_DE", "en_XX")
    assert refused.value.code == ErrorCode.TOO_LONG


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_is_encoded_or_refused(codec: TextCodec, text: str) -> None:
    try:
        encoded = codec.encode({"source": text}, "de_DE", "en_XX")
    except ServiceError:
        return
    assert all(0 <= token < 100 for token in encoded.source_ids)


def test_missing_tokenizer_is_named(tmp_path: Path, card: Card) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer.json is missing"):
        TextCodec(tmp_path, card, 100)


def test_damaged_tokenizer_is_named(tmp_path: Path, card: Card) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(TokenizerError, match=r"tokenizer.json is no readable tokenizer"):
        TextCodec(tmp_path, card, 100)


def test_every_fault_between_card_and_vocabulary_is_listed(artifacts: dict[str, Path], card: Card) -> None:
    wrong = replace(card, decoder_start="<go>", directions=("de_DE>fr_XX",))
    with pytest.raises(TokenizerError, match=r"'<go>' is not in.*'fr_XX' is not in.* the model 10"):
        TextCodec(artifacts["translator"], wrong, 10)
