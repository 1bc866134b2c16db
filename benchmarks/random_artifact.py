"""Artifacts of known shapes with random weights, to measure speed and size on.

They have no tokenizer, so that they can be run by an engine and not served.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.shapes import Shape
from quant.artifact import write_artifact
from quant.card import Card
from quant.layout import Architecture, float_bytes, model_layout
from quant.scheme import Layers, Scheme

BART_BASE = {
    "model_type": "bart",
    "vocab_size": 50265,
    "d_model": 768,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_attention_heads": 12,
    "decoder_attention_heads": 12,
    "encoder_ffn_dim": 3072,
    "decoder_ffn_dim": 3072,
    "max_position_embeddings": 1024,
    "activation_function": "gelu",
    "scale_embedding": False,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}

MBART_50 = {
    **BART_BASE,
    "model_type": "mbart",
    "vocab_size": 250054,
    "d_model": 1024,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "decoder_ffn_dim": 4096,
    "scale_embedding": True,
}
SHAPES: Mapping[Shape, Mapping[str, Any]] = {"bart-base": BART_BASE, "mbart-50": MBART_50}


def write_random_artifact(
    folder: Path, layers: Layers, scheme: Scheme, shape: Mapping[str, Any] = BART_BASE, seed: int = 0
) -> None:
    """Write a student of that many layers to a folder; always the same for the same arguments."""
    config = {**shape, "encoder_layers": layers.encoder, "decoder_layers": layers.decoder}
    generator = torch.Generator().manual_seed(seed)
    weights = {
        # Norms near 1, so that values keep their size from layer to layer.
        tensor.name: 0.02 * torch.randn(tensor.shape, generator=generator)
        + ("norm" in tensor.name and tensor.name.endswith("weight"))
        for tensor in model_layout(Architecture.from_config(config), scheme)
    }
    teacher = Architecture.from_config(shape)
    card = Card(
        task="summarization",
        source_template="{source}",
        passage_separator=None,
        normalization=(),
        source_prefix=("<s>",),
        source_suffix=("</s>",),
        decoder_start="</s>",
        forced_bos=None,
        directions=(),
        clean_up_tokenization_spaces=False,
        max_source_tokens=teacher.max_position_embeddings,
        teacher="random weights",
        teacher_layers=str(teacher.layers),
        teacher_bytes=float_bytes(teacher),
    )
    write_artifact(folder, weights, config, {}, scheme, "sha256:0", card)
