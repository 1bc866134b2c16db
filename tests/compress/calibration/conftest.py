"""Teachers of three layers a side with random weights, and examples that such a teacher might have written."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MBartConfig,
    MBartForConditionalGeneration,
    PreTrainedModel,
)

from compress.data.encoded import Encoded

MODELS = {"bart": (BartConfig, BartForConditionalGeneration), "mbart": (MBartConfig, MBartForConditionalGeneration)}


def teacher_of(kind: str) -> PreTrainedModel:
    """BART normalizes after each block, mBART before."""
    torch.manual_seed(3)
    shape = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in (("layers", 3), ("ffn_dim", 48))}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    config, model = MODELS[kind]
    settings = config(vocab_size=60, d_model=32, max_position_embeddings=24, init_std=0.2, **shape, **heads, **ids)
    settings._attn_implementation = "eager"
    return model(settings).eval()


@pytest.fixture
def examples() -> list[Encoded]:
    generator = random.Random(7)

    def text() -> list[int]:
        return [0, *(generator.randrange(4, 60) for _ in range(generator.randrange(2, 16))), 2]

    def example() -> Encoded:
        labels = text()
        return Encoded(text(), [2, *labels[:-1]], labels, False)

    return [example() for _ in range(60)]
