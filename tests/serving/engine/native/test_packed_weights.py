"""Weights that were packed from the file, piece by piece, are those that are packed of the artifact in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quant.artifact import WEIGHTS_FILE, Artifact, ArtifactError, open_artifact
from quant.layout import DECODER_EMBEDDING, ENCODER_EMBEDDING, HEAD
from quant.packing import PER_BYTE, pack
from quant.stored_tensors import StoredTensors
from quant.structure import Structure
from serving.engine.native import packed_weights
from serving.engine.native.library import kernels
from serving.engine.native.linear import PackedLinear, pack_panels, panels_shape
from serving.engine.native.packed_layout import packed_layout
from serving.engine.native.packed_weights import Memory, PackedWeights, pack_into
from serving.engine.native.weights import ArtifactWeights

STRUCTURE = Structure({"encoder.layers.0.feed_forward": 8}, {"decoder.layers.0.self_attn": 1})


def packed(artifact: Artifact) -> PackedWeights:
    """Of the artifact's file."""
    layout, tensors = packed_layout(artifact), open_artifact(artifact.path).tensors
    assert isinstance(tensors, StoredTensors)
    memory = Memory.of_own(layout.size)
    pack_into(memory, tensors, layout)
    return PackedWeights(artifact, layout, memory)


def same(one: PackedLinear, other: PackedLinear) -> bool:
    described = [(each.rows, each.columns) for each in (one, other)]
    pairs = zip(one._memory, other._memory, strict=True)
    return described[0] == described[1] and all(
        mine is None if yours is None else mine is not None and torch.equal(mine, yours) for mine, yours in pairs
    )


@pytest.mark.parametrize("piece", [64, 1 << 20])
@pytest.mark.parametrize("scheme", ["2-2-8", "4-4-8", "8-8-8", "2-4-8/matrix"])
@pytest.mark.parametrize("variant", ["plain", "bias", "untied-bias", "odd-sizes"])
def test_they_are_those_of_the_artifact(
    variant: str, scheme: str, piece: int, build_variant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a row ends within a byte, and where a piece is a row."""
    monkeypatch.setattr(packed_weights, "PIECE", piece)
    check(build_variant("mbart", scheme, variant).artifact)


def test_those_of_a_structure_too(build_structured: Any) -> None:
    check(build_structured("bart", "2-4-8", STRUCTURE).artifact)


def check(artifact: Artifact) -> None:
    found, expected = packed(artifact), ArtifactWeights(artifact)
    for name in (HEAD, ENCODER_EMBEDDING, DECODER_EMBEDDING):
        assert same(found.token_matrix(name), expected.token_matrix(name))
    for matrix in packed_layout(artifact).matrices.values():
        layers = [weight.name.removesuffix(".weight") for weight in matrix.weights]
        if "layers" in layers[0]:
            assert same(found.linear(*layers), expected.linear(*layers))
    for part in ("encoder", "decoder"):
        name = f"model.{part}.embed_positions.weight"
        assert all(map(torch.equal, found.positions(name), expected.positions(name)))
        norm = f"model.{part}.layernorm_embedding.weight"
        assert torch.equal(found.tensor(norm), expected.tensor(norm))


@given(
    bits=st.sampled_from([2, 4, 8]),
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    first=st.integers(0, 40),
    cut=st.integers(0, 69),
    seed=st.integers(0, 2**31),
)
def test_stored_codes_are_packed_as_codes_in_memory_are(
    bits: int, rows: int, columns: int, first: int, cut: int, seed: int
) -> None:
    """In two calls, below `first` rows of another matrix."""
    levels = 2 ** (bits - 1) - 1
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-levels, levels + 1, (rows, columns), generator=generator, dtype=torch.int8)
    above = torch.zeros(first, columns, dtype=torch.int8)
    stored, total = pack(codes, bits).numpy(), first + rows
    panels = torch.zeros(panels_shape(total, columns, bits), dtype=torch.uint8)
    kernels().dq_pack_codes(None, 0, first, columns, bits, panels.data_ptr())
    kernels().dq_pack_codes(None, total, -total % 32, columns, bits, panels.data_ptr())
    for begin, end in ((0, min(cut, rows)), (min(cut, rows), rows)):
        byte, skipped = divmod(begin * columns, PER_BYTE[bits])
        address = stored.ctypes.data + byte
        assert kernels().dq_pack(address, skipped, first + begin, end - begin, columns, bits, panels.data_ptr())
    assert torch.equal(panels, pack_panels(torch.cat([above, codes]), bits))


@pytest.mark.parametrize(
    ("scheme", "foreign", "message"),
    [
        ("2-2-8", 243, "byte 243 is no five ternary digits"),
        ("4-4-8", 0x90, "half-byte 0 is no 4-bit code"),
        ("4-4-8", 0x09, "half-byte 0 is no 4-bit code"),
        ("8-8-8", 0x80, "byte 128 is no 8-bit code"),
    ],
)
def test_bytes_that_we_never_write_are_refused(
    scheme: str, foreign: int, message: str, build_student: Any, tmp_path: Path
) -> None:
    artifact = build_student("bart", scheme).artifact
    tensors = open_artifact(artifact.path).tensors
    assert isinstance(tensors, StoredTensors)
    content = bytearray((artifact.path / WEIGHTS_FILE).read_bytes())
    content[tensors.codes_place("model.shared.weight") + 7] = foreign
    with pytest.raises(ArtifactError, match=rf"model\.shared\.weight\.codes: {message}"):
        packed(copied(artifact, bytes(content), tmp_path))


def test_padding_that_is_not_zero_is_refused(build_student: Any, tmp_path: Path) -> None:
    """64 x 64 codes leave one in the last byte, and four digits of padding."""
    artifact, name = build_student("bart", "2-2-8").artifact, "model.encoder.layers.1.self_attn.k_proj.weight"
    tensors = open_artifact(artifact.path).tensors
    assert isinstance(tensors, StoredTensors)
    content = bytearray((artifact.path / WEIGHTS_FILE).read_bytes())
    content[tensors.codes_place(name) + 64 * 64 // 5] = 0  # Five digits of -1.
    with pytest.raises(ArtifactError, match=f"{name}.codes: the padding of the last byte is not zero"):
        packed(copied(artifact, bytes(content), tmp_path))


def copied(artifact: Artifact, weights: bytes, folder: Path) -> Artifact:
    for path in artifact.path.iterdir():
        (folder / path.name).write_bytes(weights if path.name == WEIGHTS_FILE else path.read_bytes())
    return open_artifact(folder)


def test_views_keep_the_memory(build_student: Any) -> None:
    artifact = build_student("bart", "2-2-8").artifact
    expected = ArtifactWeights(artifact).token_matrix(HEAD)
    linear = packed(artifact).token_matrix(HEAD)
    assert same(linear, expected)
