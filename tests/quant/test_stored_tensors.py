from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from quant.artifact import WEIGHTS_FILE, ArtifactError, open_artifact, read_artifact
from quant.numerics import Quantized
from quant.stored_tensors import OpenFile, StoredTensors

CODES = "model.encoder.layers.0.fc1.weight"


@pytest.fixture
def folder(model: Any, tmp_path: Path) -> Path:
    written: Path = model.write(tmp_path / "model", "2-4-8")
    return written


def opened(folder: Path) -> StoredTensors:
    tensors = open_artifact(folder).tensors
    assert isinstance(tensors, StoredTensors)
    return tensors


def test_each_tensor_is_as_it_is_read_whole(folder: Path) -> None:
    tensors, whole = opened(folder), read_artifact(folder).tensors
    assert list(tensors) == list(whole)
    for name, expected in whole.items():
        found = tensors[name]
        if isinstance(expected, Quantized):
            assert isinstance(found, Quantized)
            assert torch.equal(found.codes, expected.codes)
            assert torch.equal(found.scale, expected.scale)
        else:
            assert isinstance(found, torch.Tensor)
            assert torch.equal(found, expected)
    tensors.check()


def damaged(folder: Path, name: str, content: bytes) -> None:
    """Write over the first bytes of a stored tensor."""
    place = opened(folder)._places[name]
    with (folder / WEIGHTS_FILE).open("r+b") as file:
        file.seek(place)
        file.write(content)


@pytest.mark.parametrize(
    ("stored", "content", "message"),
    [
        (f"{CODES}.codes", b"\xf3", "byte 243 is no five ternary digits"),
        ("model.shared.weight.codes", b"\x90", "half-byte 0 is no 4-bit code"),
        ("model.encoder.embed_positions.weight.codes", b"\x80", "byte 128 is no 8-bit code"),
        (f"{CODES}.scale", b"\x00\x80\x01\x80", "negative or non-finite"),
        ("model.encoder.layers.0.fc1.bias", b"\x00\x00\xc0\x7f", "NaN or infinity"),
    ],
)
def test_what_they_hold_is_checked_alike_with_and_without_unpacking(
    folder: Path, stored: str, content: bytes, message: str
) -> None:
    damaged(folder, stored, content)
    tensors = opened(folder)  # Which looks at no contents.
    name = stored.removesuffix(".codes").removesuffix(".scale")
    for look in (tensors.check, lambda: tensors.check([name]), lambda: tensors[name], lambda: read_artifact(folder)):
        with pytest.raises(ArtifactError, match=message):
            look()


def test_the_file_that_was_opened_is_read_whatever_takes_its_place(folder: Path) -> None:
    tensors = opened(folder)
    (folder / WEIGHTS_FILE).unlink()
    tensors.check()


def test_a_file_that_is_cut_off_is_told(folder: Path) -> None:
    tensors = opened(folder)
    os.truncate(folder / WEIGHTS_FILE, 2000)
    with pytest.raises(ArtifactError, match=r"model\.safetensors was cut off while it was read"):
        tensors.check()


def test_the_digest_is_that_of_all_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(5_000_000))
    assert OpenFile(path).digest() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_is_written_is_in_another_state(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    file = OpenFile(path)
    state = file.state()
    file.expect(state)
    path.write_bytes(b"another")
    with pytest.raises(ArtifactError, match="was written while it was read"):
        file.expect(state)
