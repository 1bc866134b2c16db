"""What a tokenizer.json may not say, each with the harm that it would do."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from quant.card import Card
from quant.strange_files import StrangeFileError
from quant.tokenizer_file import (
    TokenizerError,
    TokenizerFileError,
    open_tokenizer,
    read_tokenizer,
    unknown_id,
    vocabulary_faults,
)

TEXTS = ["guten morgen welt", "wie geht es dir", "good morning world", "how are you"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    tokenizer.enable_truncation(max_length=8)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def rewritten(path: Path, changed: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    return path


def replacing(found: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": found, "content": content}


DOUBLING = replacing({"String": "a"}, "aa")
CHARSMAP = base64.b64encode(struct.pack("<I", 400) + b"\xff" * 400 + b"abc").decode()


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"normalizer": {"type": "Sequence", "normalizers": [DOUBLING] * 8}}, "a Replace that makes a text longer"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 16}}, "has 17 parts, 16 at most"),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 1000}}, "a Prepend of more than one character"),
        ({"normalizer": replacing({"Regex": "(a+)+$"}, "")}, r"of the pattern '\(a\+\)\+\$', accepted are ' \{2,\}'"),
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}}}, "pre_tokenizer has a part 'Split', accepted"),
        ({"decoder": {"type": "Sequence", "decoders": [DOUBLING]}}, "decoder has a Replace that makes a text longer"),
        ({"decoder": 3}, "decoder has a part None|decoder has a part 3"),
        ({"model": {"type": "Script"}}, "its model is 'Script', accepted are BPE"),
        ({"model": None}, "its model is None"),
        ({"model": {"type": "BPE", "dropout": 0.5}}, "a dropout: the same text would have other tokens each time"),
    ],
)
def test_a_part_that_does_harm(file: Path, changed: dict[str, Any], fault: str) -> None:
    with pytest.raises(TokenizerFileError, match=fault):
        read_tokenizer(rewritten(file, changed), 100)


@pytest.mark.parametrize("charsmap", ["AAAA", CHARSMAP], ids=["unreadable", "found out when it is used"])
def test_a_panic_of_the_library_is_an_error(file: Path, charsmap: str) -> None:
    with pytest.raises(StrangeFileError, match="is no readable tokenizer: "):
        read_tokenizer(rewritten(file, {"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap}}), 100)


def test_a_file_too_long_for_its_vocabulary(file: Path) -> None:
    with file.open("ab") as longer:
        longer.truncate(5_000_000)
    with pytest.raises(StrangeFileError, match="has 5000000 bytes, 4219904 at most are read"):
        read_tokenizer(file, 100)


def test_tokens_that_the_model_does_not_have(file: Path) -> None:
    tokenizer: Tokenizer = read_tokenizer(file, 100)
    assert not list(vocabulary_faults(tokenizer, tokenizer.get_vocab_size()))
    described = json.loads(file.read_text())
    described["model"]["vocab"][-1][0] = "x" * 300
    described["added_tokens"][-1]["id"] = 2**31
    faults = list(vocabulary_faults(read_tokenizer(rewritten(file, described), 100), 100))
    assert faults[-1] == "it has a token of 300 characters, 256 at most are accepted"


def unigram(byte_fallback: bool) -> models.Unigram:
    spelled = [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    return models.Unigram([("<s>", 0.0), ("<unk>", 0.0), *spelled], 1, byte_fallback)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (models.BPE({"<unk>": 0, "a": 1}, [], unk_token="<unk>"), 0),
        (models.BPE({"a": 0}, []), None),
        (models.BPE({"a": 0, "<unk>": 1}, []), 1),
        (models.WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]"), 1),
        (models.WordLevel({"a": 0, "?": 1}, unk_token="?"), 1),
        (unigram(byte_fallback=False), 1),
        (unigram(byte_fallback=True), 1),
    ],
)
def test_what_stands_for_the_unknown(model: models.Model, expected: int | None) -> None:
    assert unknown_id(Tokenizer(model)) == expected


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"[" * 100_000, b'{"model": 1, "model": 2}'])
def test_what_is_no_tokenizer(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises((StrangeFileError, TokenizerFileError)):
        read_tokenizer(file, 100)


def test_a_whole_tokenizer_is_opened_without_its_truncation(file: Path, card: Card) -> None:
    tokenizer = open_tokenizer(file.parent, card, 100)
    assert len(tokenizer.encode(" ".join(TEXTS), add_special_tokens=False).ids) > 8


def test_a_tokenizer_without_the_tokens_of_its_card(file: Path, card: Card) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer.json: the card's token '\[CLS\]' is not in the vocabulary; it has"):
        open_tokenizer(file.parent, replace(card, source_prefix=("[CLS]",)), 10)


def test_a_folder_without_a_tokenizer(tmp_path: Path, card: Card) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        open_tokenizer(tmp_path, card, 10)
