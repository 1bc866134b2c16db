"""A model that costs next to nothing, so that a server of it does its own work and little else.

Nothing is left out: a real artifact is served, a token generated. It is as small as the runners take it.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.random_artifact import BART_BASE, write_random_artifact
from benchmarks.service.words import write_words
from quant.scheme import Layers, Scheme

VOCABULARY = 64
SHAPE = {
    **BART_BASE,
    "vocab_size": VOCABULARY,
    "d_model": 64,
    "encoder_attention_heads": 1,
    "decoder_attention_heads": 1,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
}
NEW_TOKENS = 1
TEXTS = ("w10 w11 w12 w13 w14 w15 w16 w17", "w20 w21 w22 w23 w24", "w30 w31 w32")


def write_null_model(folder: Path) -> Path:
    """Write a summarizer of one layer each, with a vocabulary of 64 words."""
    write_random_artifact(folder, Layers(1, 1), Scheme(8, 8, 8), SHAPE)
    write_words(folder, VOCABULARY)
    return folder
