"""Files that are not there, not whole, or of another kind: `read_artifact` reads the folder whole or names the file."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
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
from .damage import fault, header_end, rewrite_config, rewrite_weights


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
    rewrite_config(folder, vocab_size=2**24, d_model=2**16 - 4, max_position_embeddings=23)
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
