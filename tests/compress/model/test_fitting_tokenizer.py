"""Tokenizers that have more tokens than their model has embeddings."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, MBartTokenizer, PreTrainedTokenizerFast

from compress.data.denoising import Denoising
from compress.data.text_format import Encoded
from compress.errors import CompressError
from compress.model.checkpoint import CheckpointError, load_checkpoint
from compress.model.fitting_tokenizer import TokenizerMisfit, fitting
from quant.tokenizer_file import read_tokenizer, vocabulary_faults
from tests.compress.conftest import LETTERS
from tests.compress.released import TEXTS, write_checkpoint

SPELLED = "a <mask>, or<mask>two <mask>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("short") / "checkpoint", rows_missing=1)


def short_by(tokenizer: Any, rows: int) -> Any:
    return fitting(tokenizer, SimpleNamespace(vocab_size=len(tokenizer) - rows))


def test_what_spells_the_missing_token_is_unknown(folder: Path, tmp_path: Path) -> None:
    """In the training, in the service, and in what `transformers` reads from the artifact."""
    model, tokenizer = load_checkpoint(str(folder))
    rows = model.config.vocab_size
    tokenizer.save_pretrained(tmp_path)
    service = read_tokenizer(tmp_path / "tokenizer.json", rows)
    again = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer(SPELLED, add_special_tokens=False)["input_ids"]
    assert ids.count(tokenizer.unk_token_id) == 3
    assert max(ids) < rows
    assert ids == again(SPELLED, add_special_tokens=False)["input_ids"]
    assert ids == service.encode(SPELLED, add_special_tokens=False).ids
    assert list(vocabulary_faults(service, rows)) == []
    assert (len(again), again.mask_token, again.model_input_names) == (rows, None, ["input_ids", "attention_mask"])


def test_all_other_texts_are_read_as_before(folder: Path) -> None:
    before, after = AutoTokenizer.from_pretrained(folder), load_checkpoint(str(folder))[1]
    for text in [*TEXTS[:20], "  two  spaces\n", "emoji 😀, <unk> and </s>", ""]:
        assert after(text) == before(text)
        assert after.decode(after(text)["input_ids"]) == before.decode(before(text)["input_ids"])
    assert after.all_special_tokens == [token for token in before.all_special_tokens if token != "<mask>"]
    assert after.model_max_length == before.model_max_length


def test_a_tokenizer_that_fits_is_left_as_it_is(teachers: dict[str, str]) -> None:
    for name in teachers:
        tokenizer = AutoTokenizer.from_pretrained(teachers[name])
        assert short_by(tokenizer, 0) is tokenizer
        assert fitting(tokenizer, SimpleNamespace(vocab_size=9999)) is tokenizer


def test_ordinary_tokens_are_then_spelled_by_shorter_ones(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    longest = tokenizer.convert_ids_to_tokens(len(tokenizer) - 2)
    fitted = short_by(tokenizer, 2)
    assert longest not in fitted.get_vocab()
    text = tokenizer.convert_tokens_to_string([longest])
    assert fitted.decode(fitted(text, add_special_tokens=False)["input_ids"]) == text


def test_an_mbart_keeps_its_languages(teachers: dict[str, str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(teachers["mbart-cc25"])
    assert tokenizer.convert_tokens_to_ids("<mask>") == len(tokenizer) - 1
    fitted = short_by(tokenizer, 1)
    assert type(fitted) is MBartTokenizer
    fitted.src_lang = "en_XX"
    assert max(fitted(SPELLED)["input_ids"]) < len(tokenizer) - 1
    assert (
        fitted("ab")["input_ids"]
        == MBartTokenizer.from_pretrained(teachers["mbart-cc25"], src_lang="en_XX")("ab")["input_ids"]
    )


def test_what_its_class_adds_itself_cannot_be_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda _: tokenizer)
    with pytest.raises(TokenizerMisfit, match="<mask> must have a row, as RobertaTokenizer adds them itself"):
        short_by(tokenizer, 1)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", rows_missing=9)
    with pytest.raises(CheckpointError, match=r"its tokenizer has \d+ tokens, its embedding \d+: at most 8 tokens may be"):
        load_checkpoint(str(folder))


def test_tokens_that_the_model_needs_must_have_a_row() -> None:
    specials = ["<unk>", "<pad>", "</s>"]
    vocabulary = {token: index for index, token in enumerate([*LETTERS, *specials])}
    described = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    named = dict(zip(("unk_token", "pad_token", "eos_token"), specials, strict=True))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=described, **named)
    with pytest.raises(TokenizerMisfit, match="its embedding 30: </s>, <pad> must have a row"):
        short_by(tokenizer, 2)


def test_denoising_needs_the_mask_token(folder: Path) -> None:
    _, tokenizer = load_checkpoint(str(folder))
    with pytest.raises(CompressError, match="denoising puts mask tokens in place of text, and the model has none"):
        Denoising(tokenizer, 1, 1)
    whole = Denoising(AutoTokenizer.from_pretrained(folder), 1, 1)
    assert whole(Encoded([0, *range(50, 80), 2], [2], [0], False), random.Random(0)).source_ids[0] == 0
