"""The artifact: a folder that says what it is.

    config.json             the `transformers` configuration of the student, plus `quantization_config` and `dqbart`
    model.safetensors       packed tensors; its header says what they are (`quant.header`)
    generation_config.json  the decoding settings that the model was evaluated with
    tokenizer files, README.md (the model card), evaluation.json: written by whoever made the model

Writing goes to temporary files first, so that a folder never holds half of a file; the same model gives the same bytes.
Opening compares what is there with what architecture, scheme and structure demand, and lists every missing, leftover and
mis-shaped tensor at once, before any tensor is unpacked: a foreign file costs no more memory than its own bytes. Reading
looks at what the tensors hold, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from quant.card import Card, CardError
from quant.checking import card_faults, size_faults, stored_faults, weight_faults
from quant.faults import ArtifactError as ArtifactError
from quant.faults import listed, memory_faults, printable
from quant.header import FORMAT, HeaderError, format_fault, header_of, quantization_config, read_header
from quant.layout import Architecture, ArchitectureError, TensorLayout, float_bytes, model_layout, structure_faults
from quant.numerics import Quantized, quantize
from quant.packing import pack
from quant.scheme import Scheme
from quant.stored_tensors import OpenFile, StoredTensors
from quant.strange_files import StrangeFileError, read_json, regular_file
from quant.structure import UNIFORM, Structure
from quant.weights_table import TableError, read_table
from quant.whole_files import save_tensors, whole_files

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
GENERATION_FILE = "generation_config.json"


@dataclass(frozen=True)
class Artifact:
    """A model as read or opened: every weight still as codes and scale, nothing dequantized."""

    path: Path
    architecture: Architecture
    scheme: Scheme
    structure: Structure
    config: dict[str, Any]
    generation_config: dict[str, Any]
    source_digest: str
    card: Card
    tensors: Mapping[str, Quantized | Tensor]
    """Of one that was opened, StoredTensors: each is read, and its numbers are checked, at every access."""

    def whole(self) -> Artifact:
        """With all tensors in memory. Raises ArtifactError for what they hold."""
        return replace(self, tensors=dict(self.tensors)) if isinstance(self.tensors, StoredTensors) else self

    def quantized(self, name: str) -> Quantized:
        """The matrix `name` as codes [rows, columns] and scale."""
        tensor = self.tensors[name]
        assert isinstance(tensor, Quantized), f"{name} is stored in floating point"
        return tensor

    def token_matrix(self, name: str) -> Quantized:
        """One of `quant.layout.TOKEN_MATRICES`, which may be stored under the name of another."""
        return self.quantized(self.architecture.stored_as(name))

    def tensor(self, name: str) -> Tensor:
        """The float32 tensor `name`."""
        tensor = self.tensors[name]
        assert isinstance(tensor, Tensor), f"{name} is quantized"
        return tensor


@dataclass(frozen=True)
class Sizes:
    """Bytes of an artifact's weights file, of the same tensors in float32, and of the teacher in float32."""

    packed: int
    float32: int
    teacher: int

    @property
    def ratio(self) -> float:
        """How many times smaller than the teacher's float32 weights."""
        return self.teacher / self.packed


def is_artifact(folder: Path) -> bool:
    """Whether the folder's config says that it is one of ours (its weights may still be damaged)."""
    try:
        quantization = _read_json(folder / CONFIG_FILE).get("quantization_config")
    except ArtifactError:
        return False
    return isinstance(quantization, dict) and quantization.get("quant_method") == FORMAT


def write_artifact(
    folder: Path,
    weights: Mapping[str, Tensor | Quantized],
    config: Mapping[str, Any],
    generation_config: Mapping[str, Any],
    scheme: Scheme,
    source_digest: str,
    card: Card,
    structure: Structure = UNIFORM,
) -> None:
    """Quantize, pack and write a model.

    `weights` are the student's tensors by their `transformers` names: a matrix in full precision is quantized, one that is
    already codes and scale is packed as it is. Tied copies of the embedding may be among them. `source_digest` is the sha256
    of the teacher's weights. `config` has the heads of an attention that was not pruned. Raises ArtifactError listing
    missing, leftover and mis-shaped tensors, those that hold NaN or infinity, and what of the structure the model does not
    have; ArchitectureError for a `config` that is not supported.
    """
    architecture = Architecture.from_config(config)
    if faults := structure_faults(architecture, structure):
        raise ArtifactError(listed(f"cannot pack the model for {folder}", faults))
    layout = list(model_layout(architecture, scheme, structure))
    if faults := weight_faults(architecture, layout, weights) + card_faults(card, architecture):
        raise ArtifactError(listed(f"cannot pack the model for {folder}", faults))
    packed: dict[str, Tensor] = {}
    for tensor in layout:
        packed.update(_packed(tensor, weights[tensor.name]))
    header = header_of(architecture, scheme, structure, source_digest)
    quantization = quantization_config(architecture, scheme, structure)
    texts = {
        CONFIG_FILE: _json_text({**config, "quantization_config": quantization, "dqbart": card.to_dict()}),
        GENERATION_FILE: _json_text(generation_config),
    }
    with whole_files(folder) as partial:
        save_tensors(partial / WEIGHTS_FILE, packed, header)
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8")


def read_artifact(folder: Path) -> Artifact:
    """Read and check a whole artifact. Raises ArtifactError."""
    return open_artifact(folder).whole()


def open_artifact(folder: Path) -> Artifact:
    """Check all of an artifact but what its tensors hold, which is read from its file later. Raises ArtifactError."""
    config = _read_json(folder / CONFIG_FILE)
    generation_config = _read_json(folder / GENERATION_FILE)
    path = folder / WEIGHTS_FILE
    try:
        with memory_faults(path):
            target = regular_file(path)
            opened, table = OpenFile(target), read_table(target)
            with safe_open(target, framework="pt") as file:
                header = file.metadata() or {}
                if fault := format_fault(header):
                    raise ArtifactError(f"{path} {printable(fault)}")
                architecture, card = _read_config(folder / CONFIG_FILE, config)
                scheme, structure = read_header(header, architecture, config.get("quantization_config"))
                layout = list(model_layout(architecture, scheme, structure))
                if faults := size_faults(layout) or stored_faults(layout, file):
                    raise ArtifactError(listed(str(path), faults))
                places = {name: table.place(name) for tensor in layout for name in tensor.stored()}
    except HeaderError as error:
        raise ArtifactError(listed(str(path), error.faults)) from error
    except StrangeFileError as error:
        raise ArtifactError(str(error)) from error
    except (SafetensorError, TableError, OSError) as error:
        raise ArtifactError(f"{path} is no whole safetensors file: {printable(str(error))}") from error
    tensors = StoredTensors(path, opened, layout, places)
    digest = header["source_digest"]
    return Artifact(folder, architecture, scheme, structure, config, generation_config, digest, card, tensors)


def check_tensors(artifact: Artifact) -> None:
    """What the tensors of an opened artifact hold, one after another. Raises ArtifactError."""
    if isinstance(artifact.tensors, StoredTensors):
        artifact.tensors.check()


def sizes(artifact: Artifact) -> Sizes:
    """Measured size of the weights file beside what it replaces."""
    packed = (artifact.path / WEIGHTS_FILE).stat().st_size
    return Sizes(packed, float_bytes(artifact.architecture, artifact.structure), artifact.card.teacher_bytes)


def _packed(tensor: TensorLayout, weight: Tensor | Quantized) -> dict[str, Tensor]:
    if tensor.bits is None:
        assert isinstance(weight, Tensor), f"{tensor.name} is stored in floating point"
        # A copy of its own: safetensors refuses tensors that share memory, as tensors cut from one buffer do.
        copy = weight.detach().cpu().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        return {tensor.name: copy}
    if isinstance(weight, Tensor):
        weight = quantize(weight.detach().cpu(), tensor.bits, tensor.granularity)
    codes, scale = weight.codes.cpu(), weight.scale.cpu()
    return {f"{tensor.name}.codes": pack(codes, tensor.bits), f"{tensor.name}.scale": scale.half()}


def _read_config(path: Path, config: Mapping[str, Any]) -> tuple[Architecture, Card]:
    try:
        architecture, card = Architecture.from_config(config), Card.from_dict(config.get("dqbart", {}))
    except (ArchitectureError, CardError) as error:
        raise ArtifactError(f"{path}: {printable(str(error))}") from error
    if faults := card_faults(card, architecture):
        raise ArtifactError(listed(str(path), faults))
    return architecture, card


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except StrangeFileError as error:
        raise ArtifactError(str(error)) from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} holds no JSON object")
    return content


def _json_text(content: Mapping[str, Any]) -> str:
    return json.dumps(dict(content), indent=2, sort_keys=True) + "\n"
