"""Bytes of a weights file before there is one: what a size budget is held against.

A small model has many tensors for its bytes, and safetensors lists each in a header, so that the header counts: 1 % of a
2 MB file. It is JSON of a known form, written here once more without the data.
"""

from __future__ import annotations

import json
import math

from quant.header import header_of
from quant.layout import Architecture, model_layout
from quant.scheme import Scheme
from quant.structure import UNIFORM, Structure

_ELEMENT_BYTES = {"F32": 4, "F16": 2, "U8": 1}
_ALIGNMENT = 8
_DIGEST = f"sha256:{'0' * 64}"


def file_bytes(architecture: Architecture, scheme: Scheme, structure: Structure = UNIFORM) -> int:
    """Exact size of the weights file of a model, header included."""
    stored = {}
    for tensor in model_layout(architecture, scheme, structure):
        stored.update(tensor.stored())
    entries: dict[str, object] = {"__metadata__": header_of(architecture, scheme, structure, _DIGEST)}
    offset = 0
    # As safetensors lays them out: larger elements first, then by name.
    for name, (dtype, shape) in sorted(stored.items(), key=lambda item: (-_ELEMENT_BYTES[item[1][0]], item[0])):
        end = offset + _ELEMENT_BYTES[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    header = len(json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + math.ceil(header / _ALIGNMENT) * _ALIGNMENT + offset
