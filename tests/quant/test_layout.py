from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, MBartConfig, MBartForConditionalGeneration

from quant.layout import (
    DECODER_EMBEDDING,
    HEAD,
    LOGITS_BIAS,
    TOKEN_MATRICES,
    Architecture,
    TensorLayout,
    block_of,
    blocks,
    float_bytes,
    footprint,
    heads_of,
    model_layout,
    structure_faults,
)
from quant.scheme import Layers, Scheme
from quant.structure import UNIFORM, Structure

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
    assert stock.keys() - ours.keys() == {*TOKEN_MATRICES[1:], LOGITS_BIAS}


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ({"tie_word_embeddings": False}, {HEAD}),
        ({"tie_word_embeddings": False, "share_encoder_decoder_embeddings": False}, {HEAD, DECODER_EMBEDDING}),
        ({"add_bias_logits": True}, {LOGITS_BIAS}),
    ],
)
def test_what_is_not_tied_is_stored_and_counted(config: Config, said: Config, stored: set[str]) -> None:
    with torch.device("meta"):
        stock = BartForConditionalGeneration(BartConfig(**{**config, **said})).state_dict()
    plain, architecture = (Architecture.from_config({**config, **changed}) for changed in ({}, said))
    ours = {tensor.name: tensor for tensor in model_layout(architecture, Scheme(2, 4, 8))}
    assert ours.keys() - {tensor.name for tensor in model_layout(plain, Scheme(2, 4, 8))} == stored
    assert {architecture.stored_as(name) for name in TOKEN_MATRICES} == {name for name in TOKEN_MATRICES if name in ours}
    # 37 tokens of width 12: half a byte a code and a scale a row, or a float32 a token.
    bytes_each = {HEAD: 37 * (6 + 2), DECODER_EMBEDDING: 37 * (6 + 2), LOGITS_BIAS: 4 * 37}
    assert all(tuple(stock[name].shape) == ours[name].shape for name in stored)
    assert all(ours[name].stored_bytes == bytes_each[name] for name in stored)
    assert float_bytes(architecture) - float_bytes(plain) == sum(4 * ours[name].count for name in stored)


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


def test_blocks_in_the_order_of_the_forward_pass(config: Config) -> None:
    assert blocks(Architecture.from_config(config)) == [
        "encoder.layers.0.self_attn",
        "encoder.layers.0.feed_forward",
        "encoder.layers.1.self_attn",
        "encoder.layers.1.feed_forward",
        "decoder.layers.0.self_attn",
        "decoder.layers.0.encoder_attn",
        "decoder.layers.0.feed_forward",
    ]


def test_matrices_of_layers_and_no_others_are_of_a_block(config: Config) -> None:
    architecture = Architecture.from_config(config)
    of_blocks = [tensor for tensor in model_layout(architecture, Scheme(2, 2, 8)) if block_of(tensor.name)]
    # In the order of the blocks, four projections or two layers of each, with their biases.
    expected = [block for block in blocks(architecture) for _ in range(4 if block.endswith("feed_forward") else 8)]
    assert [block_of(tensor.name) for tensor in of_blocks] == expected


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("model.encoder.layers.0.fc1.weight", "encoder.layers.0.feed_forward"),
        ("model.decoder.layers.11.encoder_attn.out_proj.bias", "decoder.layers.11.encoder_attn"),
        ("decoder.layers.1.self_attn.q_proj", "decoder.layers.1.self_attn"),
        ("model.decoder.layers.1.self_attn", "decoder.layers.1.self_attn"),
        ("decoder.layers.1.feed_forward", "decoder.layers.1.feed_forward"),
        ("model.decoder.layers.1.self_attn_layer_norm.weight", None),
        ("model.decoder.layers.1.final_layer_norm.weight", None),
        ("model.shared.weight", None),
        ("model.encoder.embed_positions.weight", None),
    ],
)
def test_the_block_of_a_tensor(name: str, block: str | None) -> None:
    assert block_of(name) == block


def test_a_structures_shapes_and_bits_by_hand(config: Config) -> None:
    """The decoder's heads are 2 of 6: with one left, its own attention is 6 wide."""
    structure = Structure({"encoder.layers.1.feed_forward": 8}, {"decoder.layers.0.self_attn": 1})
    architecture = Architecture.from_config(config)
    uniform = {tensor.name: tensor for tensor in model_layout(architecture, Scheme(2, 4, 8))}
    layout = {tensor.name: tensor for tensor in model_layout(architecture, Scheme(2, 4, 8), structure)}
    changed = {name: (tensor.shape, tensor.bits) for name, tensor in layout.items() if tensor != uniform[name]}
    assert layout.keys() == uniform.keys()
    assert changed == {
        "model.encoder.layers.1.fc1.weight": ((17, 12), 8),
        "model.encoder.layers.1.fc2.weight": ((12, 17), 8),
        **{
            f"model.decoder.layers.0.self_attn.{name}_proj.{kind}": (shape, bits)
            for name in "qkv"
            for kind, shape, bits in (("weight", (6, 12), 2), ("bias", (6,), None))
        },
        "model.decoder.layers.0.self_attn.out_proj.weight": ((12, 6), 2),
    }
    fewer = 4 * 6 * 12 + 3 * 6
    assert float_bytes(architecture) - float_bytes(architecture, structure) == 4 * fewer
    # 204 codes of each of two matrices in 204 bytes instead of 41.
    parts, before = (footprint(architecture, Scheme(2, 4, 8), each) for each in (structure, UNIFORM))
    assert parts["encoder"] - before["encoder"] == 2 * (204 - 41)
    # 72 codes instead of 144 in each of four; 6 scales and biases fewer in each of three.
    assert before["decoder"] - parts["decoder"] == 4 * (29 - 15) + 3 * 6 * (2 + 4)


def test_heads_in_each_layer(config: Config) -> None:
    structure = Structure(heads={"encoder.layers.1.self_attn": 2, "decoder.layers.0.encoder_attn": 1})
    architecture = Architecture.from_config(config)
    assert heads_of(architecture, structure, "encoder", "self_attn") == [3, 2]
    assert heads_of(architecture, structure, "decoder", "self_attn") == [2]
    assert heads_of(architecture, structure, "decoder", "encoder_attn") == [1]


def test_every_fault_of_a_structure_is_listed(config: Config) -> None:
    structure = Structure(
        {"encoder.layers.2.self_attn": 2, "encoder.layers.0.encoder_attn": 4},
        {"shared": 1, "encoder.layers.0.feed_forward": 1, "encoder.layers.0.self_attn": 3, "decoder.layers.0.self_attn": 3},
    )
    assert structure_faults(Architecture.from_config(config), structure) == [
        "block_bits names encoder.layers.2.self_attn, a block that a model of 2-1 layers does not have",
        "block_bits names encoder.layers.0.encoder_attn, a block that a model of 2-1 layers does not have",
        "heads names shared, a block that a model of 2-1 layers does not have",
        "heads names encoder.layers.0.feed_forward, which is no attention",
        "heads of decoder.layers.0.self_attn is 3, the model has 2",
    ]


def test_what_a_config_says(config: Config) -> None:
    architecture = Architecture.from_config({**config, "dropout": 0.1})
    assert architecture.layers == Layers(2, 1)
    assert not architecture.normalizes_before
    assert Architecture.from_config({**config, "model_type": "mbart"}).normalizes_before
