"""What a weights file says of itself, in the header of safetensors, and the entry of config.json that repeats it.

    format, format_version, architecture, scheme, layers, source_digest     always there
    block_bits, heads                                                       JSON, where the model has a structure

Someone who copies one of the two files without the other is told, before a tensor is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from quant.layout import Architecture, structure_faults
from quant.scheme import Layers, NotationError, Scheme
from quant.structure import Structure, StructureError

FORMAT = "dqbart"
FORMAT_VERSION = "1"

_ALWAYS = ("scheme", "layers", "architecture", "source_digest")
_STRUCTURE = ("block_bits", "heads")


class HeaderError(ValueError):
    """A header that says too little, or that contradicts the configuration."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def header_of(architecture: Architecture, scheme: Scheme, structure: Structure, source_digest: str) -> dict[str, str]:
    """The header of a model's weights file."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": architecture.model_type,
        "scheme": str(scheme),
        "layers": str(architecture.layers),
        "source_digest": source_digest,
        **{name: json.dumps(entries, sort_keys=True) for name, entries in structure.to_dict().items()},
    }


def quantization_config(architecture: Architecture, scheme: Scheme, structure: Structure) -> dict[str, Any]:
    """The `quantization_config` of config.json."""
    return {
        "layers": str(architecture.layers),
        "quant_method": FORMAT,
        "scheme": str(scheme),
        **structure.to_dict(),
    }


def format_fault(header: Mapping[str, str]) -> str | None:
    """Why the file is not one that this release reads."""
    if header.get("format") != FORMAT:
        return f"is not a {FORMAT} file: its header says format={header.get('format')!r}"
    if header.get("format_version") != FORMAT_VERSION:
        found = header.get("format_version")
        return f"has format version {found!r}, this release reads version {FORMAT_VERSION!r}"
    return None


def read_header(header: Mapping[str, str], architecture: Architecture, quantization: Any) -> tuple[Scheme, Structure]:
    """Scheme and structure, both as the `quantization` of config.json has them. Raises HeaderError listing every fault."""
    faults = [f"the header lacks {key}" for key in _ALWAYS if key not in header]
    if faults:
        raise HeaderError(faults)
    if header["architecture"] != architecture.model_type:
        faults.append(f"the header says {header['architecture']}, config.json says {architecture.model_type}")
    try:
        scheme, layers = Scheme.parse(header["scheme"]), Layers.parse(header["layers"])
        structure = _structure(header)
    except (NotationError, StructureError) as error:
        raise HeaderError([*faults, str(error)]) from error
    if layers != architecture.layers:
        faults.append(f"the header says layers {layers}, config.json says {architecture.layers}")
    faults += structure_faults(architecture, structure)
    expected = quantization_config(architecture, scheme, structure)
    if quantization != expected:
        asked, said = json.dumps(expected), json.dumps(quantization)
        faults.append(f"the header asks for quantization_config {asked}, config.json says {said}")
    if faults:
        raise HeaderError(faults)
    return scheme, structure


def _structure(header: Mapping[str, str]) -> Structure:
    maps = {}
    for name in _STRUCTURE:
        if name in header:
            try:
                maps[name] = json.loads(header[name])
            except (ValueError, RecursionError) as error:
                raise StructureError(f"{name} is not readable as JSON: {error}") from error
    return Structure.from_dict(maps)
