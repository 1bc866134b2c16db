"""Checkpoints as people have them, and as they should not be: every one written by `transformers` itself, then damaged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BartForConditionalGeneration, GPT2Config, PreTrainedConfig, T5Config

from compress.model.checkpoint import CheckpointError, load_checkpoint
from compress.model.embeddings import save_checkpoint
from compress.model.packed_student import dequantized_student
from compress.model.quantized_modules import full_precision_weights
from compress.model.teacher import load_teacher
from compress.model.told import Told
from compress.scoring.decoding import DecodingSettings
from quant.artifact import ArtifactError, read_artifact, write_artifact
from quant.scheme import Scheme
from tests.compress.released import CHECKPOINTS

WEIGHTS = "model.safetensors"
FC1 = "model.encoder.layers.0.fc1.weight"


@pytest.fixture
def folder(teachers: dict[str, str], tmp_path: Path) -> Path:
    """A copy of the tiny BART, to damage."""
    return shutil.copytree(teachers["bart"], tmp_path / "bart")


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["bart", "mbart50", "mbart-cc25"])
def test_what_is_whole_is_loaded(teachers: dict[str, str], name: str) -> None:
    model, tokenizer = load_checkpoint(teachers[name])
    assert torch.equal(model.state_dict()[FC1], load_file(Path(teachers[name]) / WEIGHTS)[FC1])
    assert "a" in tokenizer.get_vocab()


@pytest.mark.parametrize("config", [T5Config(d_model=16, num_layers=1), GPT2Config(n_embd=16, n_layer=1, n_head=2)])
def test_another_architecture_is_refused_with_what_is_supported(tmp_path: Path, config: PreTrainedConfig) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError) as refused:
        load_checkpoint(str(tmp_path))
    assert str(refused.value) == f"model_type is {config.model_type!r}, supported are bart, mbart"


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"no file named model\.safetensors"):
        load_checkpoint(str(folder))


@pytest.mark.parametrize("kept", [4, 2000, -8], ids=["no-header", "half-a-header", "half-a-tensor"])
def test_weights_that_are_cut_off_are_refused(folder: Path, kept: int) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:kept])
    with pytest.raises(CheckpointError, match="its weights are no whole safetensors file"):
        load_checkpoint(str(folder))


def test_missing_tensors_are_not_made_up(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.pop(FC1))
    with pytest.raises(CheckpointError, match=rf"missing tensors \(1\): {FC1}"):
        load_checkpoint(str(folder))


def test_layers_without_a_place_are_not_left_out(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "decoder_layers": 2}))
    with pytest.raises(CheckpointError, match=r"left over tensors \(26\): model\.decoder\.layers\.2\..* and 21 more"):
        load_checkpoint(str(folder))


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update({FC1: torch.zeros(3, 3)}))
    with pytest.raises(CheckpointError, match=rf"mis-shaped tensors \(1\): {FC1} has shape \[3, 3\], \[64, 32\] expected"):
        load_checkpoint(str(folder))


def test_a_pickle_is_read_only_when_asked(folder: Path) -> None:
    model = BartForConditionalGeneration.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"only pickled weights \(pytorch_model\.bin\).*--allow-pickle"):
        load_checkpoint(str(folder))
    loaded, _ = load_checkpoint(str(folder), allow_pickle=True)
    assert torch.equal(loaded.state_dict()[FC1], model.state_dict()[FC1])


@pytest.mark.parametrize("name", ["bart", "mbart50", "mbart-cc25"])
def test_a_folder_without_a_tokenizer_is_refused(teachers: dict[str, str], tmp_path: Path, name: str) -> None:
    for file in ("config.json", "generation_config.json", WEIGHTS):
        shutil.copy(Path(teachers[name]) / file, tmp_path)
    with pytest.raises(CheckpointError, match=r"tokenizer"):
        load_checkpoint(str(tmp_path))


def test_a_config_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not a valid JSON file"):
        load_checkpoint(str(folder))


def test_nan_is_named(folder: Path) -> None:
    def damage(tensors: dict[str, torch.Tensor]) -> None:
        tensors[FC1][3, 5] = torch.nan
        tensors["final_logits_bias"][0, 2] = -torch.inf

    change_tensors(folder, damage)
    with pytest.raises(CheckpointError, match=rf"NaN or infinity in tensors \(2\): final_logits_bias, {FC1}"):
        load_checkpoint(str(folder))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_shards_are_read_to_float32(folder: Path, dtype: torch.dtype) -> None:
    model = BartForConditionalGeneration.from_pretrained(folder, dtype=dtype)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    loaded, _ = load_checkpoint(str(folder))
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded.state_dict()[FC1], model.state_dict()[FC1].float())


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"activation_function": "prelu"}, "activation_function is 'prelu', supported are gelu, gelu_10"),
        ({"normalize_before": True}, "normalize_before is True, False is what bart is computed with"),
        ({"max_position_embeddings": 32}, r"mis-shaped tensors \(2\): model.decoder.embed_positions"),
        ({"quantization_config": {"quant_method": "awq"}}, r"its weights are quantized \(awq\), weights in floating"),
    ],
)
def test_what_cannot_be_served_is_refused_when_it_is_loaded(folder: Path, entries: dict[str, object], message: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **entries}))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(folder))


@pytest.mark.parametrize("name", ["pad_token_id", "eos_token_id", "bos_token_id"])
def test_an_id_that_the_configuration_lacks_is_the_tokenizers(folder: Path, name: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, name: None}))
    model, tokenizer = load_checkpoint(str(folder))
    assert getattr(model.config, name) == (None if name == "bos_token_id" else getattr(tokenizer, name))


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"null", b'"a"'])
def test_settings_that_cannot_be_read_are_not_left_out(folder: Path, content: bytes) -> None:
    """`from_pretrained` goes on without them, or raises of any kind."""
    (folder / "generation_config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"generation_config\.json is no JSON"):
        load_checkpoint(str(folder))


@pytest.mark.parametrize(
    "entries",
    [
        {"vocab_size": "330"},
        {"encoder_layers": "2"},
        {"activation_function": ["gelu"]},
        {"scale_embedding": "yes"},
        {"quantization_config": "8-bit"},
    ],
)
def test_settings_of_another_type_are_refused(folder: Path, entries: dict[str, object]) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))
    with pytest.raises(CheckpointError, match="it cannot be loaded"):
        load_checkpoint(str(folder))


@pytest.mark.parametrize("content", ["{}", "[]", '{"added_tokens": []}', '{"added_tokens": [], "model": {"type": "BPE"}}'])
def test_a_strange_tokenizer_is_refused(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError):
        load_checkpoint(str(folder))


def pack(checkpoint: str | Path, folder: Path, scheme: str = "8-8-8") -> Path:
    """The checkpoint as an artifact of all its layers."""
    teacher = load_teacher(str(checkpoint), Told("summarization"))
    config = {key: value for key, value in teacher.model.config.to_dict().items() if value is not None}
    generation = DecodingSettings().recorded(teacher.model, teacher.text_format)
    weights, card = full_precision_weights(teacher.model), teacher.text_format.card
    write_artifact(folder, weights, config, generation, Scheme.parse(scheme), teacher.digest, card)
    teacher.text_format.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", sorted(CHECKPOINTS))
@pytest.mark.parametrize("scheme", ["8-8-8", "2-4-16"])
def test_an_artifact_is_a_checkpoint_with_plain_weights(tmp_path: Path, name: str, scheme: str) -> None:
    CHECKPOINTS[name](tmp_path / "checkpoint")
    folder = pack(tmp_path / "checkpoint", tmp_path / "artifact", scheme)
    model, tokenizer = load_checkpoint(str(folder))
    expected = dequantized_student(read_artifact(folder)).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert tokenizer.get_vocab() == load_checkpoint(str(tmp_path / "checkpoint"))[1].get_vocab()
    assert model.generation_config.num_beams == json.loads((folder / "generation_config.json").read_text())["num_beams"]
    # What is saved of it is a plain checkpoint, which nobody takes for the artifact.
    save_checkpoint(model, tmp_path / "plain")
    tokenizer.save_pretrained(tmp_path / "plain")
    assert not {"dqbart", "quantization_config"} & json.loads((tmp_path / "plain" / "config.json").read_text()).keys()
    again, _ = load_checkpoint(str(tmp_path / "plain"))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())


def test_a_damaged_artifact_is_told_by_the_reader_of_artifacts(teachers: dict[str, str], tmp_path: Path) -> None:
    folder = pack(teachers["bart"], tmp_path / "artifact")
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-8])
    with pytest.raises(ArtifactError, match="is no whole safetensors file"):
        load_checkpoint(str(folder))


def test_an_artifact_without_its_tokenizer_is_refused(teachers: dict[str, str], tmp_path: Path) -> None:
    folder = pack(teachers["bart"], tmp_path / "artifact")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    with pytest.raises(CheckpointError):
        load_checkpoint(str(folder))
