"""Small checkpoints with the oddities of those that people have: a BART of 2-2 layers over a byte-level vocabulary.

Weights are wide enough that outputs vary; `<mask>` is the last token, as in BART.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, BartConfig, BartForConditionalGeneration

from tests.checkpoints import edit

WEIGHTS = "model.safetensors"
SENTENCE = "the model reads a source text and writes what it means in few words der Hund läuft über die Straße"
TEXTS = [" ".join(random.Random(seed).choices(SENTENCE.split(), k=12)).capitalize() + "." for seed in range(60)]
SHAPE = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "max_position_embeddings": 64,
    "init_std": 0.25,
    "dropout": 0.0,
}
SETTINGS = {"max_length": 20, "num_beams": 3, "forced_bos_token_id": 0, "forced_eos_token_id": 2}


def write_checkpoint(folder: Path, rows_missing: int = 0, **config: Any) -> Path:
    """A checkpoint whose embedding has so many rows fewer than the tokenizer has tokens."""
    bpe = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    bpe.train_from_iterator(TEXTS, vocab_size=330, special_tokens=specials, show_progress=False)
    folder.mkdir(parents=True)
    bpe.save_model(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text())
    vocabulary["<mask>"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BartTokenizer", "model_max_length": 64}')
    torch.manual_seed(0)
    model = BartForConditionalGeneration(BartConfig(vocab_size=len(vocabulary) - rows_missing, **{**SHAPE, **config}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += torch.randn_like(parameter) * 0.05
    model.generation_config.update(**SETTINGS)
    model.save_pretrained(folder)
    return folder


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Rewrite a checkpoint's weights."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def _with_bias(folder: Path) -> None:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        bias = torch.randn(tensors["final_logits_bias"].shape, generator=torch.Generator().manual_seed(1))
        tensors["final_logits_bias"] = bias

    change_tensors(write_checkpoint(folder), add)


def _untied_by_an_older_release(folder: Path) -> None:
    """With one embedding for encoder and decoder, written once."""

    def leave_out(tensors: dict[str, torch.Tensor]) -> None:
        for stack in ("encoder", "decoder"):
            del tensors[f"model.{stack}.embed_tokens.weight"]

    change_tensors(write_checkpoint(folder, tie_word_embeddings=False), leave_out)


def _without_bos(folder: Path) -> None:
    edit(write_checkpoint(folder) / "config.json", bos_token_id=None)


def _with_added_tokens(folder: Path) -> None:
    write_checkpoint(folder)
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["Zwölf", "speakerA:"])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


CHECKPOINTS: dict[str, Callable[[Path], object]] = {
    "plain": write_checkpoint,
    "added-tokens": _with_added_tokens,
    "embedding-one-short": lambda folder: write_checkpoint(folder, rows_missing=1),
    "gelu-new": lambda folder: write_checkpoint(folder, activation_function="gelu_new"),
    "swish": lambda folder: write_checkpoint(folder, activation_function="swish"),
    "bias": _with_bias,
    "untied": lambda folder: write_checkpoint(folder, tie_word_embeddings=False),
    "untied-by-an-older-release": _untied_by_an_older_release,
    "no-bos": _without_bos,
}
