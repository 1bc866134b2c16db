"""Texts put together from a stream are what decoding all ids at once gives, for every kind of tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from quant.card import cleaned_up
from serving.service.text_stream import TextStream

SHIPPED = sorted((Path(__file__).parents[3] / "models").glob("*/tokenizer.json"))
WORDS = ["▁", "a", "▁a", "▁ ", "▁b c", "é", "x▁", "\n", "▁世", ".", "�"]
TEXTS = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("ab .\n\t 世界😀👩‍🔬é�")), max_size=40)


def byte_fallback() -> Tokenizer:
    spelled = [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    words = [(word, -2.0) for word in WORDS]
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), *spelled, *words], 0, True))
    tokenizer.add_special_tokens(["</s>"])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def word_pieces() -> Tokenizer:
    words = ["[UNK]", "[SEP]", "do", "##n", "n", "'", "##'", "##t", ".", ",", "世", "##é"]
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[SEP]"])
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    **{path.parent.name: partial(Tokenizer.from_file, str(path)) for path in SHIPPED},
    "byte-fallback": byte_fallback,
    "word-pieces": word_pieces,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return KINDS[request.param]()


def streamed(tokenizer: Tokenizer, ids: list[int], sizes: list[int]) -> tuple[str, str]:
    """What was told of ids that came in portions, each without a remainder; and the whole text."""
    whole = tokenizer.decode(ids, skip_special_tokens=True).strip()
    stream, told = TextStream(tokenizer), ""
    for size in [*sizes, len(ids)]:
        told += stream.add(ids[:size])
        ids = ids[size:]
        assert whole.startswith(told)
    return told + stream.end(whole), whole


@given(text=TEXTS, sizes=st.lists(st.integers(1, 4), max_size=40))
def test_encoded_texts_come_back(tokenizer: Tokenizer, text: str, sizes: list[int]) -> None:
    told, whole = streamed(tokenizer, tokenizer.encode(text, add_special_tokens=False).ids, sizes)
    assert told == whole


@given(data=st.data(), sizes=st.lists(st.integers(1, 4), max_size=40))
def test_any_ids_make_the_same_text(tokenizer: Tokenizer, data: st.DataObject, sizes: list[int]) -> None:
    """Broken characters, special tokens anywhere, and ids beyond the vocabulary, which a padded head may give."""
    count = tokenizer.get_vocab_size()
    ids = data.draw(st.lists(st.one_of(st.integers(0, count + 3), st.integers(0, 8), st.integers(220, 300)), max_size=30))
    told, whole = streamed(tokenizer, ids, sizes)
    assert told == whole


def told_in_steps(tokenizer: Tokenizer, tokens: list[str]) -> list[str]:
    stream = TextStream(tokenizer)
    ids: list[Any] = [tokenizer.token_to_id(token) for token in tokens]
    assert None not in ids
    return [stream.add([token_id]) for token_id in ids]


def test_a_character_comes_when_it_is_whole() -> None:
    told = told_in_steps(byte_fallback(), ["▁a", "<0xE4>", "<0xB8>", "<0x96>", "a", "a"])
    assert told == ["a", "", "", "", "世a", "a"]


def test_white_space_comes_with_what_follows_it() -> None:
    told = told_in_steps(byte_fallback(), ["▁ ", "\n", "a", "x▁", "\n", "▁b c", "</s>"])
    assert told == ["", "", "a", "x", "", " \n b c", ""]


CONTRACTIONS = [" ", "'", "n", "t", ".", ",", "s", " '", " n", "n't", "ve", " 've", "m", "r", "e", "?", "!"]


@given(pieces=st.lists(st.sampled_from(CONTRACTIONS), max_size=14))
def test_a_text_that_is_cleaned_up_comes_as_it_is_whole(pieces: list[str]) -> None:
    tokenizer = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(CONTRACTIONS)}, CONTRACTIONS[0]))
    tokenizer.decoder = decoders.Fuse()
    whole = cleaned_up("".join(pieces)).strip()
    stream, told = TextStream(tokenizer, cleans_up=True), ""
    for piece in pieces:
        told += stream.add([CONTRACTIONS.index(piece)])
        assert whole.startswith(told)
    assert told + stream.end(whole) == whole


def test_what_a_contraction_may_take_a_space_from_is_held_back() -> None:
    tokenizer = Tokenizer(
        models.WordLevel({piece: number for number, piece in enumerate(["It", " is", " n", "'t", " so", " .", "x"])}, "x")
    )
    tokenizer.decoder = decoders.Fuse()
    stream = TextStream(tokenizer, cleans_up=True)
    assert [stream.add([token_id]) for token_id in range(6)] == ["", "", "It", "", " isn", "'"]
    assert stream.end("It isn't so.") == "t so."
