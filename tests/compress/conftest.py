"""Tiny random teachers in each supported format, with the real tokenizer classes over a vocabulary of letters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BartTokenizer,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz.?:"
CODES = ("de_DE", "en_XX", "ar_AR", "fr_XX")
SHAPE = {
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "dropout": 0.1,
    "init_std": 0.3,
    "forced_eos_token_id": 2,
}


def write_bart(folder: Path) -> None:
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocab = {token: index for index, token in enumerate([*specials, "Ġ", *LETTERS])}
    _write(folder, BartForConditionalGeneration(_config(BartConfig, len(vocab))), BartTokenizer(vocab=vocab, merges=[]))


def write_mbart50(folder: Path) -> None:
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -1.0), *((letter, -2.0) for letter in LETTERS)]
    tokenizer = MBart50Tokenizer(vocab=pieces, src_lang="de_DE", tgt_lang="en_XX")
    _write(folder, MBartForConditionalGeneration(_config(MBartConfig, len(tokenizer))), tokenizer)


def write_mbart_cc25(folder: Path) -> None:
    from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES

    tokens = ["<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS, *FAIRSEQ_LANGUAGE_CODES, "<mask>"]
    tokenizer = MBartTokenizer(vocab=[(token, -1.0) for token in tokens], src_lang="de_DE", tgt_lang="en_XX")
    _write(folder, MBartForConditionalGeneration(_config(MBartConfig, len(tokenizer))), tokenizer)


WRITERS: dict[str, Callable[[Path], None]] = {"bart": write_bart, "mbart50": write_mbart50, "mbart-cc25": write_mbart_cc25}


def _config(kind, vocab_size):
    config = kind(vocab_size=vocab_size, bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, **SHAPE)
    config.scale_embedding = kind is MBartConfig
    return config


def _write(folder, model, tokenizer):
    model.generation_config.max_length = 12
    model.generation_config.num_beams = 2
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Format → folder of a tiny checkpoint."""
    base = tmp_path_factory.mktemp("teachers")
    for seed, (name, write) in enumerate(WRITERS.items()):
        torch.manual_seed(seed)
        write(base / name)
    return {name: str(base / name) for name in WRITERS}


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A JSON-lines file of 48 pairs of unequal lengths."""
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    words = ["guten tag", "wie geht es dir", "ja", "der hund schlaeft im garten", "nein danke", "was ist das"]
    rows = [{"source": f"{words[i % 6]} {words[i // 6 % 6]}", "target": f"{words[i % 5]}."} for i in range(48)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
