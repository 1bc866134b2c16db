"""Contents that contradict each other or that we never write: `read_artifact` names the file and every fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from quant.artifact import (
    CONFIG_FILE,
    WEIGHTS_FILE,
)
from quant.structure import UNIFORM

from .conftest import Model, random_model
from .damage import fault, rewrite_config, rewrite_weights


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    return model.write(tmp_path)


def test_every_fault_of_the_tensors_is_listed(folder: Path) -> None:
    def damage(tensors: dict[str, Tensor], header: dict[str, str]) -> None:
        del tensors["model.shared.weight.codes"]
        del tensors["model.decoder.layers.0.fc2.bias"]
        tensors["lm_head.weight"] = torch.zeros(2, 3)
        tensors["model.encoder.layers.0.fc1.bias"] = torch.zeros(18)
        tensors["model.encoder.layers.0.fc1.weight.scale"] = torch.zeros(17, 1)
        tensors["model.encoder.layers.0.fc1.weight.codes"] = torch.zeros(40, dtype=torch.uint8)
        tensors["model.encoder.layers.0.fc2.weight.scale"] = torch.zeros(12, dtype=torch.float16)

    rewrite_weights(folder, damage)
    assert fault(folder).splitlines() == [
        f"{folder / WEIGHTS_FILE}: 7 faults:",
        "  model.shared.weight.codes is missing",
        "  model.decoder.layers.0.fc2.bias is missing",
        "  lm_head.weight is left over",
        "  model.encoder.layers.0.fc1.weight.codes is U8 [40], U8 [41] expected",
        "  model.encoder.layers.0.fc1.weight.scale is F32 [17, 1], F16 [17, 1] expected",
        "  model.encoder.layers.0.fc1.bias is F32 [18], F32 [17] expected",
        "  model.encoder.layers.0.fc2.weight.scale is F16 [12], F16 [12, 1] expected",
    ]


def test_a_foreign_safetensors_file(model: Model, folder: Path) -> None:
    save_file(model.weights, folder / WEIGHTS_FILE)
    assert fault(folder) == f"{folder / WEIGHTS_FILE} is not a dqbart file: its header says format=None"
    save_file(model.weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    assert "its header says format='pt'" in fault(folder)


def test_another_version_is_told_before_anything_that_it_may_have_changed(folder: Path) -> None:
    rewrite_weights(folder, lambda tensors, header: header.update(format_version="2"))
    rewrite_config(folder, dqbart={"an entry of": "version 2"})
    assert fault(folder) == f"{folder / WEIGHTS_FILE} has format version '2', this release reads version '1'"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scheme", None, "the header lacks scheme"),
        ("source_digest", None, "the header lacks source_digest"),
        ("scheme", "3-2-8", "3-2-8 is not a scheme: write W-E-A"),
        ("layers", "two", "'two' is not a layer pair: write E-D"),
        ("layers", "9" * 5000 + "-1", "is not a layer pair: write E-D"),
        ("architecture", "mbart", "the header says mbart, config.json says bart"),
        ("layers", "2-2", "the header says layers 2-2, config.json says 2-1"),
        ("scheme", "8-8-8", 'config.json says {"layers": "2-1", "quant_method": "dqbart", "scheme": "2-2-8"}'),
    ],
)
def test_a_header_that_contradicts_or_says_too_little(folder: Path, key: str, value: str | None, message: str) -> None:
    def change(tensors: dict[str, Tensor], header: dict[str, str]) -> None:
        del header[key]
        if value is not None:
            header[key] = value

    rewrite_weights(folder, change)
    assert message in fault(folder)
    assert str(folder / WEIGHTS_FILE) in fault(folder)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"block_bits": "{"}, "block_bits is not readable as JSON"),
        ({"heads": "[" * 100_000}, "heads is not readable as JSON"),
        ({"heads": "[3]"}, "heads is no JSON object of block to number"),
        ({"block_bits": '{"encoder.layers.0.self_attn": 3}'}, "encoder.layers.0.self_attn is 3, 2, 4 and 8 are accepted"),
        ({"block_bits": '{"encoder.layers.0.self_attn": true}'}, "is True, 2, 4 and 8 are accepted"),
        ({"heads": '{"encoder.layers.0.self_attn": 0}'}, "is 0, a whole number from 1 is expected"),
        ({"heads": '{"encoder.layers.0.self_attn": 1e3}'}, "is 1000.0, a whole number from 1 is expected"),
        ({"heads": '{"encoder.layers.0.self_attn": 4}'}, "heads of encoder.layers.0.self_attn is 4, the model has 3"),
        ({"heads": '{"encoder.layers.0.feed_forward": 1}'}, "encoder.layers.0.feed_forward, which is no attention"),
        ({"heads": '{"encoder.layers.7.self_attn": 1}'}, "heads names encoder.layers.7.self_attn, a block that a model of"),
        (
            {"block_bits": '{"model.shared": 2}'},
            "block_bits names model.shared, a block that a model of 2-1 layers does not",
        ),
        # Rightly formed, and not what config.json says.
        (
            {"heads": '{"encoder.layers.0.self_attn": 2}'},
            '"heads": {"encoder.layers.0.self_attn": 2}}, config.json says {"layers": "2-1"',
        ),
    ],
)
def test_a_structure_that_we_never_write(folder: Path, entries: dict[str, str], message: str) -> None:
    rewrite_weights(folder, lambda tensors, header: header.update(entries))
    assert fault(folder).startswith(f"{folder / WEIGHTS_FILE}: ")
    assert message in fault(folder)


def test_a_structure_that_the_tensors_do_not_have(folder: Path) -> None:
    """Header and config agree; the matrices are of another model."""
    heads = {"decoder.layers.0.encoder_attn": 1}
    rewrite_weights(folder, lambda tensors, header: header.update(heads=json.dumps(heads)))
    rewrite_config(
        folder, quantization_config={"quant_method": "dqbart", "scheme": "2-2-8", "layers": "2-1", "heads": heads}
    )
    assert "encoder_attn.q_proj.weight.codes is U8 [29], U8 [15] expected" in fault(folder)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "model.encoder.layernorm_embedding.bias",
            torch.nan,
            "model.encoder.layernorm_embedding.bias holds NaN or infinity",
        ),
        ("model.shared.weight.scale", torch.inf, "model.shared.weight.scale holds a negative or non-finite value"),
        ("model.shared.weight.scale", torch.nan, "model.shared.weight.scale holds a negative or non-finite value"),
        ("model.shared.weight.scale", -1.0, "model.shared.weight.scale holds a negative or non-finite value"),
        ("model.shared.weight.codes", 255, "model.shared.weight.codes: byte 255 is no five ternary digits"),
        ("model.decoder.embed_positions.weight.codes", 128, "embed_positions.weight.codes: byte 128 is no 8-bit code"),
    ],
)
def test_a_value_that_we_never_write(folder: Path, name: str, value: float, message: str) -> None:
    def change(tensors: dict[str, Tensor], header: dict[str, str]) -> None:
        tensors[name].view(-1)[5] = value

    rewrite_weights(folder, change)
    assert fault(folder).startswith(f"{folder / WEIGHTS_FILE}: ")
    assert message in fault(folder)


@pytest.mark.parametrize(("name", "value"), [("final_logits_bias", torch.nan), ("lm_head.weight.scale", torch.inf)])
def test_a_head_of_its_own_that_we_never_write(model: Model, tmp_path: Path, name: str, value: float) -> None:
    said = {**model.config, "tie_word_embeddings": False, "add_bias_logits": True}
    folder = random_model(said, model.card, UNIFORM).write(tmp_path / "artifact")
    rewrite_weights(folder, lambda tensors, header: tensors[name].view(-1)[5:6].fill_(value))
    assert f"{name} holds" in fault(folder)
    rewrite_config(folder, tie_word_embeddings=True, add_bias_logits=False)
    assert "final_logits_bias is left over" in fault(folder)
    assert "lm_head.weight.codes is left over" in fault(folder)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_type": "t5"}, "model_type is 't5', supported are bart, mbart"),
        ({"encoder_layers": 10**9}, "encoder_layers is 1000000000, 1 to 256 are accepted"),
        ({"d_model": -12}, "d_model is -12, 1 to"),
        ({"d_model": None}, "d_model is missing"),
        ({"encoder_attention_heads": 5}, "d_model is 12, no multiple of encoder_attention_heads = 5"),
        ({"dqbart": None}, "the card is None, an object is expected"),
        ({"dqbart": {}}, "task is missing"),
    ],
)
def test_a_config_that_we_never_write(folder: Path, changed: dict[str, Any], message: str) -> None:
    rewrite_config(folder, **changed)
    assert fault(folder).startswith(f"{folder / CONFIG_FILE}: ")
    assert message in fault(folder)


@pytest.mark.parametrize("quantization", [None, {}, {"quant_method": "awq"}, "2-2-8"])
def test_a_config_of_another_quantization(folder: Path, quantization: Any) -> None:
    rewrite_config(folder, quantization_config=quantization)
    assert f"config.json says {json.dumps(quantization)}" in fault(folder)


def test_an_unknown_entry_of_the_card(model: Model, folder: Path) -> None:
    rewrite_config(folder, dqbart={**model.card.to_dict(), "colour": "blue"})
    assert fault(folder) == f"{folder / CONFIG_FILE}: colour is unknown"
