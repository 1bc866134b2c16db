"""Whatever is in the folder: `read_artifact` reads it whole, or raises ArtifactError naming the file and the faults."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from quant.artifact import (
    CONFIG_FILE,
    GENERATION_FILE,
    WEIGHTS_FILE,
    ArtifactError,
    is_artifact,
    read_artifact,
)
from quant.strange_files import LARGEST_JSON

from .conftest import Model

Change = Callable[[dict[str, Tensor], dict[str, str]], Any]


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    return model.write(tmp_path)


@pytest.fixture(scope="module")
def shared_folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that only replace one file's contents, again and again."""
    return model.write(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def whole(model: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an undamaged artifact."""
    return {path.name: path.read_bytes() for path in model.write(tmp_path_factory.mktemp("whole")).iterdir()}


def fault(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        read_artifact(folder)
    return str(caught.value)


def rewrite_weights(folder: Path, change: Change) -> None:
    """Change the tensors and the header of the weights file."""
    path = folder / WEIGHTS_FILE
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata())
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors, header)
    save_file(tensors, path, metadata=header)


def rewrite_config(folder: Path, **changed: Any) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps({**config, **changed}))


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


@pytest.mark.parametrize("name", [CONFIG_FILE, GENERATION_FILE])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff\xfe", b"not JSON", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"[]"]
)
def test_json_that_is_no_object(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert fault(folder).startswith(f"{folder / name} ")


def test_a_json_file_too_long_is_not_read(folder: Path) -> None:
    with (folder / CONFIG_FILE).open("wb") as file:
        file.truncate(LARGEST_JSON + 1)
    assert fault(folder) == f"{folder / CONFIG_FILE} has {LARGEST_JSON + 1} bytes, {LARGEST_JSON} at most are read"


@pytest.mark.parametrize("name", [CONFIG_FILE, GENERATION_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("instead", ["nothing", "folder", "pipe", "broken link", "link to itself"])
def test_a_file_that_is_not_there(folder: Path, name: str, instead: str) -> None:
    path = folder / name
    path.unlink()
    if instead == "folder":
        path.mkdir()
    elif instead == "pipe":
        os.mkfifo(path)
    elif instead == "broken link":
        path.symlink_to(folder / "nowhere")
    elif instead == "link to itself":
        path.symlink_to(path)
    assert fault(folder) == f"{path} is missing"


def test_no_folder(tmp_path: Path) -> None:
    assert fault(tmp_path / "nowhere") == f"{tmp_path / 'nowhere' / CONFIG_FILE} is missing"


def header_end(content: bytes) -> int:
    return 8 + int(struct.unpack("<Q", content[:8])[0])


@pytest.mark.parametrize("claimed", [0, 1, 2**20, 2**40, 2**63, 2**64 - 1])
def test_a_header_of_an_absurd_length(folder: Path, claimed: int) -> None:
    content = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(struct.pack("<Q", claimed) + content[8:])
    assert fault(folder).startswith(f"{folder / WEIGHTS_FILE} is no whole safetensors file: ")


def test_a_table_of_tensors_that_is_too_long_is_not_read(folder: Path) -> None:
    text = json.dumps({f"n{number}": {} for number in range(500_000)}).encode()
    (folder / WEIGHTS_FILE).write_bytes(struct.pack("<Q", len(text)) + text)
    assert f"its table of tensors has {len(text)} bytes, 4194304 at most are read" in fault(folder)


def test_a_tensor_named_twice(folder: Path) -> None:
    content = (folder / WEIGHTS_FILE).read_bytes()
    text = content[8 : header_end(content)].replace(b'"__metadata__"', b'"model.shared.weight.codes":{},"__metadata__"')
    (folder / WEIGHTS_FILE).write_bytes(struct.pack("<Q", len(text)) + text + content[header_end(content) :])
    assert "an object has the same name twice" in fault(folder)


def test_a_model_of_too_many_weights(folder: Path) -> None:
    rewrite_config(folder, vocab_size=2**24, d_model=12 * 2**16, max_position_embeddings=23)
    assert "weights, 4294967296 at most are read" in fault(folder)


def test_names_of_tensors_do_not_steer_a_terminal(folder: Path) -> None:
    rewrite_weights(folder, lambda tensors, header: tensors.update({"\x1b[2J\n" + "x" * 5000: torch.zeros(1)}))
    assert "\x1b" not in fault(folder)
    assert len(fault(folder)) < 1200


@pytest.mark.parametrize("shape", [[2**62, 4], [2**31, 2**31], [10**12], [-1], []])
def test_a_shape_that_the_file_does_not_hold(folder: Path, shape: list[int]) -> None:
    content = (folder / WEIGHTS_FILE).read_bytes()
    header = json.loads(content[8 : header_end(content)])
    header["model.shared.weight.codes"]["shape"] = shape
    text = json.dumps(header).encode()
    (folder / WEIGHTS_FILE).write_bytes(struct.pack("<Q", len(text)) + text + content[header_end(content) :])
    assert fault(folder).startswith(f"{folder / WEIGHTS_FILE} is no whole safetensors file: ")


@given(st.data())
def test_a_file_cut_anywhere(shared_folder: Path, whole: dict[str, bytes], data: st.DataObject) -> None:
    content = whole[WEIGHTS_FILE]
    edges = [0, 1, 7, 8, 9, header_end(content) - 1, header_end(content), len(content) - 1]
    cut = data.draw(st.sampled_from(edges) | st.integers(0, len(content) - 1))
    (shared_folder / WEIGHTS_FILE).write_bytes(content[:cut])
    assert fault(shared_folder).startswith(f"{shared_folder / WEIGHTS_FILE} is no whole safetensors file: ")


@given(st.data())
def test_a_file_with_bytes_flipped_is_read_or_refused(
    shared_folder: Path, whole: dict[str, bytes], data: st.DataObject
) -> None:
    for name, original in whole.items():
        content = bytearray(original)
        last = min(len(content), header_end(original) if name == WEIGHTS_FILE else len(content)) - 1
        places = st.integers(0, last) | st.integers(0, len(content) - 1)
        for place, flip in data.draw(st.lists(st.tuples(places, st.integers(1, 255)), max_size=3)):
            content[place] ^= flip
        (shared_folder / name).write_bytes(content)
    try:
        tensors = read_artifact(shared_folder).tensors.values()
    except ArtifactError:
        assert str(shared_folder) in fault(shared_folder)
    else:
        assert all(bool(tensor.isfinite().all()) for tensor in tensors if isinstance(tensor, Tensor))


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.integers())) | st.integers() | st.none())
def test_any_json_is_a_config_or_an_artifact_error(shared_folder: Path, whole: dict[str, bytes], content: Any) -> None:
    for name, original in whole.items():
        (shared_folder / name).write_bytes(original)
    (shared_folder / CONFIG_FILE).write_text(json.dumps(content))
    assert str(shared_folder) in fault(shared_folder)
    assert not is_artifact(shared_folder)


def test_a_folder_copied_is_the_same_model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(folder, copy)
    assert read_artifact(copy).card == read_artifact(folder).card
