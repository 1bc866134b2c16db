"""A tiny model of random weights, small enough to be written to disk in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from quant.artifact import write_artifact
from quant.card import Card
from quant.layout import Architecture, model_layout
from quant.normalization import STEPS
from quant.scheme import Scheme
from quant.structure import UNIFORM, Structure

DIGEST = "sha256:" + "0" * 64

HEADS = {
    "encoder.layers.0.self_attn": 3,
    "encoder.layers.1.self_attn": 3,
    "decoder.layers.0.self_attn": 2,
    "decoder.layers.0.encoder_attn": 2,
}
"""Of the model below."""
BLOCKS = [*HEADS, "encoder.layers.0.feed_forward", "encoder.layers.1.feed_forward", "decoder.layers.0.feed_forward"]


@dataclass(frozen=True)
class Model:
    """Everything that an artifact is written from."""

    config: dict[str, Any]
    card: Card
    weights: dict[str, Tensor]

    def write(self, folder: Path, scheme: str = "2-2-8", **changed: Any) -> Path:
        given = {"weights": self.weights, "config": self.config, "generation_config": {"num_beams": 4}, "card": self.card}
        write_artifact(folder, **{**given, **changed}, scheme=Scheme.parse(scheme), source_digest=DIGEST)
        return folder

    def structured(self, structure: Structure, model_type: str = "bart") -> Model:
        """The model with random weights of that structure."""
        return random_model({**self.config, "model_type": model_type}, self.card, structure)


def random_model(config: dict[str, Any], card: Card, structure: Structure) -> Model:
    generator = torch.Generator().manual_seed(1)
    layout = model_layout(Architecture.from_config(config), Scheme(8, 8, 8), structure)
    return Model(config, card, {tensor.name: torch.randn(tensor.shape, generator=generator) for tensor in layout})


@pytest.fixture(scope="session")
def config() -> dict[str, Any]:
    """A BART of uneven sizes, so that no two of them can be mixed up."""
    return {
        "model_type": "bart",
        "vocab_size": 37,
        "d_model": 12,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": 3,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 17,
        "decoder_ffn_dim": 19,
        "max_position_embeddings": 23,
        "activation_function": "gelu",
        "scale_embedding": False,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
    }


@pytest.fixture(scope="session")
def card() -> Card:
    return Card(
        task="summarization",
        source_template="{source}",
        passage_separator=None,
        normalization=STEPS,
        source_prefix=("<s>",),
        source_suffix=("</s>",),
        decoder_start="</s>",
        forced_bos="<s>",
        directions=(),
        clean_up_tokenization_spaces=False,
        max_source_tokens=23,
        teacher="teacher-tiny",
        teacher_layers="6-6",
        teacher_bytes=100_000,
    )


@pytest.fixture(scope="session")
def model(config: dict[str, Any], card: Card) -> Model:
    return random_model(config, card, UNIFORM)
