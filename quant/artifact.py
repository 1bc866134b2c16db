"""The artifact: a folder that says what it is.

    config.json             the `transformers` configuration of the student, plus `quantization_config` and `dqbart`
    model.safetensors       packed tensors; its header repeats format, version, architecture, scheme and source digest
    generation_config.json  the decoding settings that the model was evaluated with
    tokenizer files, README.md (the model card), evaluation.json: written by whoever made the model

Writing goes to temporary files first, so that a folder never holds half of a file. Reading compares what is there with
what the architecture and the scheme demand, and lists every missing, leftover and mis-shaped tensor at once, before any
tensor is unpacked: a foreign file costs no more memory than its own bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from quant.card import Card, CardError
from quant.layout import (
    EMBEDDING,
    TIED_TO_EMBEDDING,
    Architecture,
    ArchitectureError,
    TensorLayout,
    float_bytes,
    model_layout,
)
from quant.numerics import Quantized, quantize
from quant.packing import PackingError, pack, unpack
from quant.scheme import Layers, NotationError, Scheme

FORMAT = "dqbart"
FORMAT_VERSION = "1"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
GENERATION_FILE = "generation_config.json"
LARGEST_JSON = 2**24
"""Bytes of a JSON file that we are willing to parse."""


class ArtifactError(ValueError):
    """A folder that is not a readable artifact. The message names the file and lists every fault."""


@dataclass(frozen=True)
class Artifact:
    """A model as read: every weight still as codes and scale, nothing dequantized."""

    path: Path
    architecture: Architecture
    scheme: Scheme
    config: dict[str, Any]
    generation_config: dict[str, Any]
    source_digest: str
    card: Card
    tensors: dict[str, Quantized | Tensor]

    def quantized(self, name: str) -> Quantized:
        """The matrix `name` as codes [rows, columns] and scale."""
        tensor = self.tensors[name]
        assert isinstance(tensor, Quantized), f"{name} is stored in floating point"
        return tensor

    def tensor(self, name: str) -> Tensor:
        """The float32 tensor `name`."""
        tensor = self.tensors[name]
        assert isinstance(tensor, Tensor), f"{name} is quantized"
        return tensor


@dataclass(frozen=True)
class Sizes:
    """Bytes of an artifact's weights file, of the same layers in float32, and of the teacher in float32."""

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
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    generation_config: Mapping[str, Any],
    scheme: Scheme,
    source_digest: str,
    card: Card,
) -> None:
    """Quantize, pack and write a model.

    `weights` are the student's full-precision tensors by their `transformers` names, `source_digest` the sha256 of the
    teacher's weights. Tied copies of the embedding may be among them. Raises ArtifactError listing missing, leftover and
    mis-shaped tensors, and those that hold NaN or infinity; ArchitectureError for a `config` that is not supported.
    """
    architecture = Architecture.from_config(config)
    layout = list(model_layout(architecture, scheme))
    faults = [fault for tensor in layout for fault in _weight_faults(tensor, weights)]
    faults += _leftover_faults(layout, weights) + _card_faults(card, architecture)
    if faults:
        raise ArtifactError(_listed(f"cannot pack the model for {folder}", faults))
    packed: dict[str, Tensor] = {}
    for tensor in layout:
        packed.update(_packed(tensor, weights[tensor.name]))
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": architecture.model_type,
        "scheme": str(scheme),
        "layers": str(architecture.layers),
        "source_digest": source_digest,
    }
    quantization = _quantization_config(scheme, architecture)
    texts = {
        CONFIG_FILE: _json_text({**config, "quantization_config": quantization, "dqbart": card.to_dict()}),
        GENERATION_FILE: _json_text(generation_config),
    }
    folder.mkdir(parents=True, exist_ok=True)
    partials = {name: folder / f"{name}.partial" for name in (WEIGHTS_FILE, *texts)}
    try:
        save_file(packed, partials[WEIGHTS_FILE], metadata=header)
        for name, text in texts.items():
            partials[name].write_text(text, encoding="utf-8")
        # safetensors lets the owner alone read what it writes; the other files have the modes that the user wants.
        shutil.copymode(partials[CONFIG_FILE], partials[WEIGHTS_FILE])
        for name, partial in partials.items():
            os.replace(partial, folder / name)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def read_artifact(folder: Path) -> Artifact:
    """Read and check a whole artifact. Raises ArtifactError."""
    config = _read_json(folder / CONFIG_FILE)
    generation_config = _read_json(folder / GENERATION_FILE)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ArtifactError(f"{path} is missing")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            _check_format(path, header)
            architecture, card = _read_config(folder / CONFIG_FILE, config)
            scheme = _check_header(path, header, architecture, config)
            layout = list(model_layout(architecture, scheme))
            _check_tensors(path, file, layout)
            tensors = {tensor.name: _unpacked(path, file, tensor) for tensor in layout}
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} is no whole safetensors file: {error}") from error
    return Artifact(folder, architecture, scheme, config, generation_config, header["source_digest"], card, tensors)


def sizes(artifact: Artifact) -> Sizes:
    """Measured size of the weights file beside what it replaces."""
    packed = (artifact.path / WEIGHTS_FILE).stat().st_size
    return Sizes(packed, float_bytes(artifact.architecture), artifact.card.teacher_bytes)


def _weight_faults(tensor: TensorLayout, weights: Mapping[str, Tensor]) -> list[str]:
    if tensor.name not in weights:
        return [f"{tensor.name} is missing"]
    weight = weights[tensor.name]
    if tuple(weight.shape) != tensor.shape:
        return [f"{tensor.name} has shape {list(weight.shape)}, {list(tensor.shape)} expected"]
    return [] if bool(weight.isfinite().all()) else [f"{tensor.name} holds NaN or infinity"]


def _leftover_faults(layout: list[TensorLayout], weights: Mapping[str, Tensor]) -> list[str]:
    faults = []
    for name in sorted(weights.keys() - {tensor.name for tensor in layout}):
        if name in TIED_TO_EMBEDDING:
            if EMBEDDING in weights and not torch.equal(weights[name], weights[EMBEDDING]):
                faults.append(f"{name} differs from {EMBEDDING}, to which it should be tied")
        elif name != "final_logits_bias":
            faults.append(f"{name} is left over")
        elif bool(weights[name].any()):
            faults.append("final_logits_bias is not zero, which is not supported")
    return faults


def _packed(tensor: TensorLayout, weight: Tensor) -> dict[str, Tensor]:
    weight = weight.detach().cpu()
    if tensor.bits is None:
        # A copy of its own: safetensors refuses tensors that share memory, as tensors cut from one buffer do.
        return {tensor.name: weight.to(torch.float32, copy=True, memory_format=torch.contiguous_format)}
    codes, scale = quantize(weight, tensor.bits, tensor.granularity)
    return {f"{tensor.name}.codes": pack(codes, tensor.bits), f"{tensor.name}.scale": scale.half()}


def _unpacked(path: Path, file: Any, tensor: TensorLayout) -> Quantized | Tensor:
    if tensor.bits is None:
        values: Tensor = file.get_tensor(tensor.name)
        if not bool(values.isfinite().all()):
            raise ArtifactError(f"{path}: {tensor.name} holds NaN or infinity")
        return values
    scale = file.get_tensor(f"{tensor.name}.scale").float()
    if not bool(scale.isfinite().all() and (scale >= 0).all()):
        raise ArtifactError(f"{path}: {tensor.name}.scale holds a negative or non-finite value")
    try:
        codes = unpack(file.get_tensor(f"{tensor.name}.codes"), tensor.bits, tensor.shape)
    except PackingError as error:
        raise ArtifactError(f"{path}: {tensor.name}.codes: {error}") from error
    return Quantized(codes, scale)


def _read_config(path: Path, config: Mapping[str, Any]) -> tuple[Architecture, Card]:
    try:
        architecture, card = Architecture.from_config(config), Card.from_dict(config.get("dqbart", {}))
    except (ArchitectureError, CardError) as error:
        raise ArtifactError(f"{path}: {error}") from error
    if faults := _card_faults(card, architecture):
        raise ArtifactError(_listed(str(path), faults))
    return architecture, card


def _card_faults(card: Card, architecture: Architecture) -> list[str]:
    positions = architecture.max_position_embeddings
    if card.max_source_tokens <= positions:
        return []
    return [f"max_source_tokens is {card.max_source_tokens}, the model has {positions} positions"]


def _quantization_config(scheme: Scheme, architecture: Architecture) -> dict[str, str]:
    return {"layers": str(architecture.layers), "quant_method": FORMAT, "scheme": str(scheme)}


def _check_format(path: Path, header: Mapping[str, str]) -> None:
    if header.get("format") != FORMAT:
        raise ArtifactError(f"{path} is not a {FORMAT} file: its header says format={header.get('format')!r}")
    if header.get("format_version") != FORMAT_VERSION:
        found = header.get("format_version")
        raise ArtifactError(f"{path} has format version {found!r}, this release reads version {FORMAT_VERSION!r}")


def _check_header(path: Path, header: Mapping[str, str], architecture: Architecture, config: Mapping[str, Any]) -> Scheme:
    faults = [
        f"the header lacks {key}" for key in ("scheme", "layers", "architecture", "source_digest") if key not in header
    ]
    if faults:
        raise ArtifactError(_listed(str(path), faults))
    if header["architecture"] != architecture.model_type:
        faults.append(f"the header says {header['architecture']}, {CONFIG_FILE} says {architecture.model_type}")
    try:
        scheme, layers = Scheme.parse(header["scheme"]), Layers.parse(header["layers"])
    except NotationError as error:
        raise ArtifactError(f"{path}: {error}") from error
    if layers != architecture.layers:
        faults.append(f"the header says layers {layers}, {CONFIG_FILE} says {architecture.layers}")
    expected, found = _quantization_config(scheme, architecture), config.get("quantization_config")
    if found != expected:
        asked, said = json.dumps(expected), json.dumps(found)
        faults.append(f"the header asks for quantization_config {asked}, {CONFIG_FILE} says {said}")
    if faults:
        raise ArtifactError(_listed(str(path), faults))
    return scheme


def _check_tensors(path: Path, file: Any, layout: list[TensorLayout]) -> None:
    expected = {name: stored for tensor in layout for name, stored in tensor.stored().items()}
    found = set(file.keys())
    faults = [f"{name} is missing" for name in expected if name not in found]
    faults += [f"{name} is left over" for name in sorted(found - expected.keys())]
    for name, (dtype, shape) in expected.items():
        if name in found:
            entry = file.get_slice(name)
            if entry.get_dtype() != dtype or tuple(entry.get_shape()) != shape:
                faults.append(f"{name} is {entry.get_dtype()} {entry.get_shape()}, {dtype} {list(shape)} expected")
    if faults:
        raise ArtifactError(_listed(str(path), faults))


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing")
    if path.stat().st_size > LARGEST_JSON:
        raise ArtifactError(f"{path} has {path.stat().st_size} bytes, {LARGEST_JSON} at most are read")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not readable as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} holds no JSON object")
    return content


def _json_text(content: Mapping[str, Any]) -> str:
    return json.dumps(dict(content), indent=2, sort_keys=True) + "\n"


def _listed(subject: str, faults: list[str]) -> str:
    return f"{subject}: {len(faults)} fault{'s' * (len(faults) > 1)}:\n" + "\n".join(f"  {fault}" for fault in faults)
