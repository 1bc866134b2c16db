from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from quant.artifact import (
    CONFIG_FILE,
    GENERATION_FILE,
    WEIGHTS_FILE,
    ArtifactError,
    is_artifact,
    read_artifact,
    sizes,
)
from quant.layout import TOKEN_MATRICES, ArchitectureError, float_bytes, footprint, model_layout
from quant.numerics import Quantized, dequantize, fake_quantize
from quant.scheme import WEIGHT_BITS, Scheme
from quant.structure import Structure

from .conftest import BLOCKS, DIGEST, HEADS, Model

SCHEMES = ("2-2-8", "8-8-8", "4-4-8", "2-8-16", "8-2-8/matrix", "2-4-8/matrix")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_was_trained_is_what_is_read(model: Model, tmp_path: Path, scheme: str, dtype: torch.dtype) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in model.weights.items()}
    artifact = read_artifact(model.write(tmp_path, scheme, weights=weights))
    assert artifact.tensors.keys() == weights.keys()
    for tensor in model_layout(artifact.architecture, artifact.scheme):
        weight = weights[tensor.name]
        if tensor.bits is None:
            assert torch.equal(artifact.tensor(tensor.name), weight.float())
        else:
            packed = artifact.quantized(tensor.name)
            assert torch.equal(dequantize(packed), fake_quantize(weight, tensor.bits, tensor.granularity))
            assert (packed.codes.dtype, packed.scale.dtype) == (torch.int8, torch.float32)


@settings(max_examples=30)
@given(
    scheme=st.sampled_from(SCHEMES),
    model_type=st.sampled_from(["bart", "mbart"]),
    block_bits=st.dictionaries(st.sampled_from(BLOCKS), st.sampled_from(WEIGHT_BITS)),
    heads=st.fixed_dictionaries({}, optional={block: st.integers(1, count) for block, count in HEADS.items()}),
)
def test_any_structure_comes_back(
    model: Model,
    tmp_path_factory: pytest.TempPathFactory,
    scheme: str,
    model_type: str,
    block_bits: dict[str, int],
    heads: dict[str, int],
) -> None:
    """Its tensors have the shapes and bits that were asked for, and take the bytes that shapes say."""
    structure = Structure(block_bits, heads)
    structured = model.structured(structure, model_type)
    artifact = read_artifact(structured.write(tmp_path_factory.mktemp("model"), scheme, structure=structure))
    assert artifact.structure == structure
    for tensor in model_layout(artifact.architecture, Scheme.parse(scheme), structure):
        if tensor.bits is not None:
            weight = structured.weights[tensor.name]
            values = fake_quantize(weight, tensor.bits, tensor.granularity)
            assert torch.equal(dequantize(artifact.quantized(tensor.name)), values)
    content = (artifact.path / WEIGHTS_FILE).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    size = sizes(artifact)
    assert size.packed == header + sum(footprint(artifact.architecture, artifact.scheme, structure).values())
    assert size.float32 == 4 * sum(weight.numel() for weight in structured.weights.values())


def test_what_a_structure_adds_to_header_and_config(model: Model, tmp_path: Path) -> None:
    structure = Structure({"encoder.layers.1.feed_forward": 8}, {"decoder.layers.0.self_attn": 1})
    artifact = read_artifact(model.structured(structure).write(tmp_path, structure=structure))
    with safe_open(tmp_path / WEIGHTS_FILE, framework="pt") as file:
        header = file.metadata()
    assert header["block_bits"] == '{"encoder.layers.1.feed_forward": 8}'
    assert header["heads"] == '{"decoder.layers.0.self_attn": 1}'
    assert artifact.config["quantization_config"] == {
        "quant_method": "dqbart",
        "scheme": "2-2-8",
        "layers": "2-1",
        "block_bits": {"encoder.layers.1.feed_forward": 8},
        "heads": {"decoder.layers.0.self_attn": 1},
    }


def test_a_header_without_a_structure_says_nothing_of_one(model: Model, tmp_path: Path) -> None:
    with safe_open(model.write(tmp_path) / WEIGHTS_FILE, framework="pt") as file:
        assert file.metadata() == {
            "format": "dqbart",
            "format_version": "1",
            "architecture": "bart",
            "scheme": "2-2-8",
            "layers": "2-1",
            "source_digest": DIGEST,
        }


def test_a_structure_that_the_model_does_not_have_is_not_written(model: Model, tmp_path: Path) -> None:
    structure = Structure({"encoder.layers.2.self_attn": 2}, {"decoder.layers.0.self_attn": 3})
    with pytest.raises(ArtifactError) as caught:
        model.write(tmp_path / "model", structure=structure)
    assert str(caught.value).splitlines() == [
        f"cannot pack the model for {tmp_path / 'model'}: 2 faults:",
        "  block_bits names encoder.layers.2.self_attn, a block that a model of 2-1 layers does not have",
        "  heads of decoder.layers.0.self_attn is 3, the model has 2",
    ]
    assert not (tmp_path / "model").exists()


def test_weights_that_were_not_pruned_are_not_packed_as_pruned(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"self_attn.q_proj.weight has shape \[12, 12\], \[6, 12\] expected"):
        model.write(tmp_path / "model", structure=Structure(heads={"decoder.layers.0.self_attn": 1}))


def test_a_row_of_zeros_comes_back(model: Model, tmp_path: Path) -> None:
    weights = {**model.weights, "model.shared.weight": torch.zeros(37, 12)}
    codes, scale = read_artifact(model.write(tmp_path, weights=weights)).quantized("model.shared.weight")
    assert not codes.any()
    assert not scale.any()


def test_everything_else_comes_back(model: Model, tmp_path: Path) -> None:
    artifact = read_artifact(model.write(tmp_path, "2-4-8/matrix"))
    assert artifact.path == tmp_path
    assert str(artifact.scheme) == "2-4-8/matrix"
    assert str(artifact.architecture.layers) == "2-1"
    assert artifact.generation_config == {"num_beams": 4}
    assert artifact.source_digest == DIGEST
    assert artifact.card == model.card
    assert {name: artifact.config[name] for name in model.config} == model.config
    quantization = {"quant_method": "dqbart", "scheme": "2-4-8/matrix", "layers": "2-1"}
    assert artifact.config["quantization_config"] == quantization


def test_sizes_are_measured(model: Model, tmp_path: Path) -> None:
    artifact = read_artifact(model.write(tmp_path))
    size = sizes(artifact)
    assert size.packed == (tmp_path / WEIGHTS_FILE).stat().st_size
    content = (tmp_path / WEIGHTS_FILE).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    assert size.packed == header + sum(footprint(artifact.architecture, artifact.scheme).values())
    assert size.float32 == float_bytes(artifact.architecture)
    assert size.teacher == 100_000
    assert size.ratio == 100_000 / size.packed


def test_the_same_model_is_the_same_bytes(model: Model, tmp_path: Path) -> None:
    folders = [model.write(tmp_path / str(number)) for number in range(3)]
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1, name


def test_writing_leaves_three_files(model: Model, tmp_path: Path) -> None:
    model.write(tmp_path / "new" / "folder")
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {CONFIG_FILE, GENERATION_FILE, WEIGHTS_FILE}


def test_writing_replaces_links_and_not_what_they_point_at(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (CONFIG_FILE, GENERATION_FILE, WEIGHTS_FILE):
        (tmp_path / name).write_text("somebody else's")
        (folder / name).symlink_to(tmp_path / name)
    read_artifact(model.write(folder))
    assert {(tmp_path / name).read_text() for name in (CONFIG_FILE, GENERATION_FILE, WEIGHTS_FILE)} == {"somebody else's"}


def test_reading_follows_links_of_the_hubs_cache(model: Model, tmp_path: Path) -> None:
    model.write(tmp_path / "blobs")
    snapshot = tmp_path / "snapshots" / "revision"
    snapshot.mkdir(parents=True)
    for name in (CONFIG_FILE, GENERATION_FILE, WEIGHTS_FILE):
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    assert read_artifact(snapshot).card == model.card


def test_a_failed_write_leaves_the_old_model(model: Model, tmp_path: Path) -> None:
    model.write(tmp_path, "2-2-8")
    with pytest.raises(TypeError, match="not JSON serializable"):
        model.write(tmp_path, "8-8-8", generation_config={"num_beams": torch.float32})
    assert str(read_artifact(tmp_path).scheme) == "2-2-8"
    assert len(list(tmp_path.iterdir())) == 3


def test_every_fault_of_the_weights_is_listed(model: Model, tmp_path: Path) -> None:
    weights = {
        **model.weights,
        "model.encoder.layers.0.fc1.bias": torch.zeros(16),
        "model.encoder.layers.1.fc1.weight": torch.full((17, 12), torch.nan),
        "model.decoder.layers.0.fc2.bias": torch.full((12,), torch.inf),
        "model.encoder.layers.2.fc1.bias": torch.zeros(17),
        "final_logits_bias": torch.ones(1, 37),
        "lm_head.weight": torch.zeros(37, 12),
    }
    del weights["model.encoder.layers.0.self_attn.q_proj.weight"]
    with pytest.raises(ArtifactError) as caught:
        model.write(tmp_path / "model", weights=weights)
    assert str(caught.value).splitlines() == [
        f"cannot pack the model for {tmp_path / 'model'}: 7 faults:",
        "  model.encoder.layers.0.self_attn.q_proj.weight is missing",
        "  model.encoder.layers.0.fc1.bias has shape [16], [17] expected",
        "  model.encoder.layers.1.fc1.weight holds NaN or infinity",
        "  model.decoder.layers.0.fc2.bias holds NaN or infinity",
        "  final_logits_bias is not zero, but add_bias_logits is false",
        "  lm_head.weight differs from model.shared.weight, to which it should be tied",
        "  model.encoder.layers.2.fc1.bias is left over",
    ]
    assert not (tmp_path / "model").exists()


def test_tied_copies_and_a_bias_of_zero_are_left_out(model: Model, tmp_path: Path) -> None:
    tied = dict.fromkeys(TOKEN_MATRICES, model.weights["model.shared.weight"])
    weights = {**model.weights, **tied, "final_logits_bias": torch.zeros(1, 37)}
    assert read_artifact(model.write(tmp_path, weights=weights)).tensors.keys() == model.weights.keys()


def test_a_config_that_is_not_supported_is_not_written(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ArchitectureError, match="model_type is 't5'"):
        model.write(tmp_path / "model", config={**model.config, "model_type": "t5"})


def test_a_card_that_asks_for_more_than_the_model_has_is_not_written(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="max_source_tokens is 24, the model has 23 positions"):
        model.write(tmp_path / "model", card=dataclasses.replace(model.card, max_source_tokens=24))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        "null",
        '{"model_type": "bart"}',
        '{"quantization_config": 3}',
        '{"quantization_config": {"quant_method": "awq"}}',
    ],
)
def test_what_is_no_artifact(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / CONFIG_FILE).write_text(content)
    assert not is_artifact(tmp_path)


def test_what_is_an_artifact(model: Model, tmp_path: Path) -> None:
    assert is_artifact(model.write(tmp_path))


def test_config_is_plain_json_that_transformers_can_read(model: Model, tmp_path: Path) -> None:
    config: dict[str, Any] = json.loads((model.write(tmp_path) / CONFIG_FILE).read_text())
    assert config["model_type"] == "bart"
    assert config["dqbart"]["source_suffix"] == ["</s>"]


def test_asking_for_the_wrong_kind_of_tensor_is_a_mistake_of_ours(model: Model, tmp_path: Path) -> None:
    artifact = read_artifact(model.write(tmp_path))
    assert isinstance(artifact.tensors["model.shared.weight"], Quantized)
    with pytest.raises(AssertionError, match="is quantized"):
        artifact.tensor("model.shared.weight")
    with pytest.raises(AssertionError, match="is stored in floating point"):
        artifact.quantized("model.encoder.layers.0.fc1.bias")


def test_tensors_that_share_memory_are_written_apart(model: Model, tmp_path: Path) -> None:
    buffer = torch.arange(24.0)
    names = ("model.encoder.layernorm_embedding.weight", "model.encoder.layernorm_embedding.bias")
    artifact = read_artifact(model.write(tmp_path, weights={**model.weights, names[0]: buffer[:12], names[1]: buffer[::2]}))
    assert artifact.tensor(names[0]).tolist() == list(range(12))
    assert artifact.tensor(names[1]).tolist() == list(range(0, 24, 2))
