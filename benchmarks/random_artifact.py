"""An artifact of BART-base's shape with random weights: `python -m benchmarks.random_artifact FOLDER`.

It is there to measure speed and size on. It has no tokenizer, so that it can be run by an engine and not served.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from quant.artifact import read_artifact, sizes, write_artifact
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


def main(
    folder: Annotated[Path, typer.Argument(help="where to write it")],
    layers: Annotated[str, typer.Option(help="encoder and decoder layers, E-D")] = "6-3",
    bits: Annotated[str, typer.Option(help="bits of weights, embeddings and activations, W-E-A")] = "2-2-8",
) -> None:
    """Write the artifact and print its size."""
    kept = Layers.parse(layers)
    config = {**BART_BASE, "encoder_layers": kept.encoder, "decoder_layers": kept.decoder}
    torch.manual_seed(0)
    weights = {
        # Norms near 1, so that values keep their size from layer to layer.
        tensor.name: 0.02 * torch.randn(tensor.shape) + ("norm" in tensor.name and tensor.name.endswith("weight"))
        for tensor in model_layout(Architecture.from_config(config), Scheme.parse(bits))
    }
    card = Card(
        task="summarization",
        source_template="{source}",
        source_prefix=("<s>",),
        source_suffix=("</s>",),
        decoder_start="</s>",
        forced_bos=None,
        directions=(),
        max_source_tokens=1024,
        teacher="random weights",
        teacher_layers="6-6",
        teacher_bytes=float_bytes(Architecture.from_config(BART_BASE)),
    )
    write_artifact(folder, weights, config, {}, Scheme.parse(bits), "sha256:0", card)
    size = sizes(read_artifact(folder))
    print(f"{folder}: {layers} layers at {bits}, {size.packed / 2**20:.1f} MiB, {size.ratio:.1f}x smaller than BART-base")


if __name__ == "__main__":
    typer.run(main)
