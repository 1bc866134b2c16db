from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, MBartConfig, MBartForConditionalGeneration

from quant.layout import (
    TIED_TO_EMBEDDING,
    Architecture,
    ArchitectureError,
    TensorLayout,
    float_bytes,
    footprint,
    model_layout,
)
from quant.scheme import Layers, Scheme

Config = dict[str, Any]


@pytest.mark.parametrize(
    ("model_type", "config_class", "model_class"),
    [
        ("bart", BartConfig, BartForConditionalGeneration),
        ("mbart", MBartConfig, MBartForConditionalGeneration),
    ],
)
def test_names_and_shapes_are_those_of_transformers(
    config: Config, model_type: str, config_class: Any, model_class: Any
) -> None:
    with torch.device("meta"):
        model = model_class(config_class(**{**config, "model_type": model_type}))
    stock = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    architecture = Architecture.from_config(model.config.to_dict())
    ours = {tensor.name: tensor.shape for tensor in model_layout(architecture, Scheme(2, 2, 8))}
    assert {name: stock.get(name) for name in ours} == ours
    assert stock.keys() - ours.keys() == {*TIED_TO_EMBEDDING, "final_logits_bias"}


def test_only_matrices_are_quantized_each_with_the_bits_of_its_part(config: Config) -> None:
    layout = {tensor.name: tensor for tensor in model_layout(Architecture.from_config(config), Scheme(2, 4, 8, "matrix"))}
    assert (layout["model.shared.weight"].bits, layout["model.shared.weight"].granularity) == (4, "row")
    positions = layout["model.decoder.embed_positions.weight"]
    assert (positions.bits, positions.granularity, positions.shape) == (8, "row", (25, 12))
    weight = layout["model.decoder.layers.0.encoder_attn.q_proj.weight"]
    assert (weight.bits, weight.granularity) == (2, "matrix")
    assert {tensor.bits for tensor in layout.values() if len(tensor.shape) == 1} == {None}
    assert all(tensor.bits for tensor in layout.values() if len(tensor.shape) == 2)


@pytest.mark.parametrize(
    ("tensor", "stored", "size"),
    [
        (TensorLayout("n", (7,), "encoder"), {"n": ("F32", (7,))}, 28),
        # 21 codes: 5 bytes of five digits, 11 half-byte pairs, 21 bytes; 3 rows, 2 bytes a scale
        (TensorLayout("n", (3, 7), "encoder", 2), {"n.codes": ("U8", (5,)), "n.scale": ("F16", (3, 1))}, 11),
        (TensorLayout("n", (3, 7), "encoder", 4), {"n.codes": ("U8", (11,)), "n.scale": ("F16", (3, 1))}, 17),
        (TensorLayout("n", (3, 7), "encoder", 8, "matrix"), {"n.codes": ("U8", (21,)), "n.scale": ("F16", (1, 1))}, 23),
    ],
)
def test_how_a_tensor_is_stored(tensor: TensorLayout, stored: Mapping[str, Any], size: int) -> None:
    assert tensor.stored() == stored
    assert tensor.stored_bytes == size


def test_sizes_by_hand(config: Config) -> None:
    """d_model 12, ffn 17 and 19, 37 tokens, 25 positions, 2-1 layers."""
    architecture = Architecture.from_config(config)
    attention = 4 * (12 * 12 + 12) + 2 * 12
    encoder = 2 * (attention + (17 * 12 + 17) + (12 * 17 + 12) + 2 * 12) + 2 * 12
    decoder = 2 * attention + (19 * 12 + 19) + (12 * 19 + 12) + 2 * 12 + 2 * 12
    assert float_bytes(architecture) == 4 * (37 * 12 + 2 * 25 * 12 + encoder + decoder)
    parts = footprint(architecture, Scheme(8, 2, 8, "matrix"))
    assert parts["embedding"] == 89 + 2 * 37  # 444 ternary codes
    assert parts["positions"] == 2 * 25 * (12 + 2)
    matrices = 2 * (4 * 144 + 2 * 204)
    assert parts["encoder"] == matrices + 2 * 2 * 6 + 4 * (encoder - matrices)
    assert parts.keys() == {"embedding", "positions", "encoder", "decoder"}


def test_what_a_config_says(config: Config) -> None:
    architecture = Architecture.from_config({**config, "dropout": 0.1})
    assert architecture.layers == Layers(2, 1)
    assert not architecture.normalizes_before
    assert Architecture.from_config({**config, "model_type": "mbart"}).normalizes_before


def test_every_fault_of_a_config_is_listed() -> None:
    config = {"model_type": "t5", "tie_word_embeddings": False, "vocab_size": "50265", "d_model": True, "scale_embedding": 1}
    with pytest.raises(ArchitectureError) as caught:
        Architecture.from_config(config)
    message = str(caught.value)
    for fault in (
        "model_type is 't5', supported are bart, mbart",
        "tie_word_embeddings is false",
        "encoder_layers is missing",
        "eos_token_id is missing",
        "vocab_size is '50265', a whole number is expected",
        "d_model is True, a whole number is expected",
        "scale_embedding is 1, true or false is expected",
    ):
        assert fault in message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("encoder_layers", 0, "encoder_layers is 0, 1 to 256 are accepted"),
        ("decoder_layers", 10**9, "decoder_layers is 1000000000, 1 to 256 are accepted"),
        ("d_model", -12, "d_model is -12, 1 to 16777216 are accepted"),
        ("max_position_embeddings", 10**30, f"max_position_embeddings is {10**30}, 1 to"),
        ("decoder_attention_heads", 0, "decoder_attention_heads is 0, 1 to"),
        ("encoder_attention_heads", 5, "d_model is 12, no multiple of encoder_attention_heads = 5"),
        ("eos_token_id", 37, "eos_token_id is 37, outside of the vocabulary of 37"),
        ("pad_token_id", -1, "pad_token_id is -1, outside of the vocabulary of 37"),
        ("activation_function", 3, "activation_function is 3, a name is expected"),
        ("model_type", ["bart"], r"model_type is \['bart'\], supported are"),
    ],
)
def test_a_config_that_no_model_has(config: Config, name: str, value: Any, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_config({**config, name: value})
