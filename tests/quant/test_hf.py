"""Artifacts through `from_pretrained`, beside the reader of artifacts itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForSeq2SeqLM, BartForConditionalGeneration, MBartForConditionalGeneration

import quant.hf
from compress.model.packed_student import dequantized_student
from quant.artifact import ArtifactError, read_artifact
from quant.numerics import Quantized, dequantize
from quant.structure import Structure
from tests.quant.conftest import Model, random_model

IDS = torch.tensor([[0, 5, 30, 12, 2], [0, 9, 2, 1, 1]])
STRUCTURE = Structure(
    block_bits={"encoder.layers.0.self_attn": 8, "decoder.layers.0.feed_forward": 4},
    heads={"encoder.layers.1.self_attn": 2, "decoder.layers.0.encoder_attn": 1, "decoder.layers.0.self_attn": 1},
)


def load(folder: Path, **arguments: Any) -> Any:
    return AutoModelForSeq2SeqLM.from_pretrained(folder, **arguments)


@pytest.mark.parametrize("scheme", ["2-2-8", "4-8-8/matrix", "8-4-16"])
def test_every_value_is_the_artifacts(model: Model, tmp_path: Path, scheme: str) -> None:
    loaded = load(model.write(tmp_path, scheme))
    assert type(loaded) is BartForConditionalGeneration
    values = loaded.state_dict()
    for name, tensor in read_artifact(tmp_path).tensors.items():
        assert torch.equal(values[name], dequantize(tensor) if isinstance(tensor, Quantized) else tensor), name
    assert loaded.lm_head.weight is loaded.model.shared.weight
    assert not loaded.final_logits_bias.any()


@pytest.mark.parametrize(
    ("model_type", "kind"), [("bart", BartForConditionalGeneration), ("mbart", MBartForConditionalGeneration)]
)
def test_it_generates_what_the_dequantized_student_generates(
    model: Model, tmp_path: Path, model_type: str, kind: type
) -> None:
    ids = {"decoder_start_token_id": 2, "eos_token_id": 2, "forced_eos_token_id": 2, "pad_token_id": 1}
    generation = {**ids, "num_beams": 3, "max_length": 15}
    loaded = load(model.structured(Structure(), model_type).write(tmp_path, generation_config=generation))
    assert type(loaded) is kind
    expected = dequantized_student(read_artifact(tmp_path))
    arguments = {"input_ids": IDS, "attention_mask": (IDS != 1).long()}
    # Its settings come with the model; what they are compared with has none.
    assert torch.equal(loaded.generate(**arguments), expected.generate(**arguments, **generation))


@pytest.mark.parametrize("model_type", ["bart", "mbart"])
def test_removed_heads_come_back_as_zeros_and_change_nothing(model: Model, tmp_path: Path, model_type: str) -> None:
    loaded = load(model.structured(STRUCTURE, model_type).write(tmp_path, structure=STRUCTURE))
    pruned = dequantized_student(read_artifact(tmp_path))
    attention = loaded.model.encoder.layers[1].self_attn
    assert attention.q_proj.weight.shape == (12, 12)
    assert not attention.v_proj.weight[8:].any()
    assert not attention.v_proj.bias[8:].any()
    assert not attention.out_proj.weight[:, 8:].any()
    with torch.inference_mode():
        given, expected = (each(input_ids=IDS, decoder_input_ids=IDS).logits for each in (loaded, pruned))
    torch.testing.assert_close(given, expected)


UNTIED = {"tie_word_embeddings": False, "add_bias_logits": True}


@pytest.mark.parametrize("shared", [True, False])
def test_a_head_of_its_own_and_a_bias(model: Model, tmp_path: Path, shared: bool) -> None:
    said = {**model.config, **UNTIED, "share_encoder_decoder_embeddings": shared}
    loaded, information = load(
        random_model(said, model.card, Structure()).write(tmp_path / "artifact", "2-4-8"), output_loading_info=True
    )
    assert not information["missing_keys"]
    expected = dequantized_student(read_artifact(tmp_path / "artifact")).state_dict()
    values = loaded.state_dict()
    assert values.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in values.items())
    assert loaded.final_logits_bias.any()
    assert torch.equal(loaded.model.encoder.embed_tokens.weight, loaded.model.decoder.embed_tokens.weight) == shared
    loaded.save_pretrained(tmp_path / "plain")
    again = BartForConditionalGeneration.from_pretrained(tmp_path / "plain").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in values.items())
    without = AutoModel.from_pretrained(tmp_path / "artifact", dtype=torch.float32).state_dict()
    assert all(torch.equal(value, values[f"model.{name}"]) for name, value in without.items())


def test_weights_come_in_the_dtype_that_is_asked_for(model: Model, tmp_path: Path) -> None:
    loaded = load(model.write(tmp_path), dtype=torch.bfloat16)
    expected = dequantize(read_artifact(tmp_path).quantized("model.encoder.layers.0.fc1.weight")).bfloat16()
    assert torch.equal(loaded.model.encoder.layers[0].fc1.weight, expected)


def test_the_model_without_its_head_loads_too(model: Model, tmp_path: Path) -> None:
    structured = model.structured(STRUCTURE)
    loaded = AutoModel.from_pretrained(structured.write(tmp_path, structure=STRUCTURE), dtype=torch.float32)
    assert torch.equal(loaded.shared.weight, dequantize(read_artifact(tmp_path).quantized("model.shared.weight")))
    assert not loaded.encoder.layers[1].self_attn.k_proj.bias[8:].any()


def test_what_is_saved_again_is_a_plain_checkpoint(model: Model, tmp_path: Path) -> None:
    loaded = load(model.write(tmp_path / "artifact"))
    loaded.save_pretrained(tmp_path / "plain")
    again = load(tmp_path / "plain")
    assert not hasattr(again.config, "quantization_config")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_a_damaged_artifact_is_refused_with_every_fault(model: Model, tmp_path: Path) -> None:
    model.write(tmp_path, "2-2-8")
    weights = (tmp_path / "model.safetensors").read_bytes()
    model.write(tmp_path, "8-8-8")
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(ArtifactError, match="quantization_config"):
        load(tmp_path)


def test_a_checkpoint_is_not_quantized_on_the_way(model: Model, tmp_path: Path) -> None:
    load(model.write(tmp_path / "artifact")).save_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match="pre-quantized"):
        load(tmp_path / "plain", quantization_config=quant.hf.DqbartConfig())
