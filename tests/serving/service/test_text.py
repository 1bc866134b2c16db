from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.artifact import read_artifact
from quant.card import Card
from quant.tokenizer_file import TokenizerError
from serving.service.errors import ErrorCode, ServiceError
from serving.service.text import TextCodec


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


WORDS = "guten morgen welt wie geht es dir " * 20


def test_texts_are_encoded_whole_however_long(codec: TextCodec) -> None:
    once = len(codec.encode({"source": "guten morgen"}, "de_DE", "en_XX").source_ids) - 2
    assert len(codec.encode({"source": " ".join(["guten morgen"] * 60)}, "de_DE", "en_XX").source_ids) == 60 * once + 2


def test_a_cut_source_is_the_start_of_the_whole_one_with_its_end_token(codec: TextCodec) -> None:
    whole = codec.encode({"source": WORDS}, "de_DE", "en_XX")
    cut = codec.cut({"source": WORDS}, "de_DE", "en_XX")
    assert cut.source_ids == whole.source_ids[:47] + whole.source_ids[-1:]
    assert (cut.decoder_start_token_id, cut.forced_bos_token_id) == (2, 6)


@pytest.fixture(scope="module")
def answerer(artifacts: dict[str, Path]) -> TextCodec:
    # Something after the context shows that the context alone is cut.
    card = read_artifact(artifacts["answerer"]).card
    return TextCodec(artifacts["answerer"], replace(card, source_template="wer {question} wie {context} es"), 100)


def test_a_cut_takes_tokens_of_the_context_alone(answerer: TextCodec) -> None:
    question, context = "who wrote the book", "how are you " * 40
    cut = answerer.cut({"question": question, "context": context}, None, None).source_ids
    before = answerer.encode({"question": question, "context": ""}, None, None).source_ids
    end = answerer.encode({"question": question, "context": context}, None, None).source_ids[-2:]
    assert len(cut) == 48
    # The template's last word and </s> are kept, and so is all before the context.
    assert cut[-2:] == end
    assert cut[:8] == before[:8]


def test_a_question_that_leaves_no_room_is_named(answerer: TextCodec) -> None:
    texts = {"question": "who wrote the book " * 20, "context": "she wrote it"}
    with pytest.raises(ServiceError, match=r"the question leaves no room for the context: the model reads 48") as refused:
        answerer.cut(texts, None, None)
    assert (refused.value.code, refused.value.field) == (ErrorCode.TOO_LONG, "question")
    assert answerer.room(texts) < 0


def test_room_is_what_the_rest_leaves(codec: TextCodec, answerer: TextCodec) -> None:
    assert codec.room({"source": WORDS}) == 46
    texts = {"question": "who", "context": "she"}
    rest = len(answerer.encode({**texts, "context": ""}, None, None).source_ids)
    assert answerer.room(texts) == 48 - rest


def test_tokens_are_spelt_as_in_the_vocabulary(codec: TextCodec) -> None:
    assert (codec.spelling(2), codec.spelling(6), codec.spelling(5000)) == ("</s>", "en_XX", "")


def test_token_starts_are_characters(codec: TextCodec) -> None:
    starts = codec.token_starts("wie geht")
    assert (starts[0], sorted(starts)) == (0, starts)
    assert 3 in starts


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_is_encoded(codec: TextCodec, text: str) -> None:
    encoded = codec.encode({"source": text}, "de_DE", "en_XX")
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
