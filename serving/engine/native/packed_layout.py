"""Where each of a model's packed weights lies in one piece of memory.

It follows from the artifact alone, in the order of the forward pass, so that what was packed once needs no table: with the
same artifact and release, the layout is the same.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field

from quant.artifact import Artifact
from quant.layout import LOGITS_BIAS, TOKEN_MATRICES, TensorLayout, model_layout
from serving.engine.native.linear import PANEL, panels_shape
from serving.engine.native.weights import bits_of, has_bias

ALIGNMENT = 64
"""Bytes: of a vector, and of a line of the cache."""

_FLOAT = 4
_TOGETHER = {"self_attn": ("q_proj", "k_proj", "v_proj"), "encoder_attn": ("k_proj", "v_proj")}
"""Projections that are multiplied together, as layers.py has them."""
_PROJECTION = re.compile(r"(?P<attention>.+\.(?P<kind>self_attn|encoder_attn))\.(?P<projection>[qkv]_proj)\.weight")


@dataclass(frozen=True)
class Matrix:
    """Matrices that are multiplied together."""

    weights: tuple[TensorLayout, ...]
    biases: tuple[str, ...]
    bits: int
    """As packed."""

    @property
    def name(self) -> str:
        return self.weights[0].name

    @property
    def rows(self) -> int:
        return sum(weight.shape[0] for weight in self.weights)

    @property
    def columns(self) -> int:
        return self.weights[0].shape[1]

    @property
    def padded_rows(self) -> int:
        return -(-self.rows // PANEL) * PANEL


@dataclass(frozen=True)
class PackedLayout:
    """Of one model; places are bytes from the start, by name: NAME.codes, NAME.scale, NAME.bias, and NAME of floats."""

    matrices: dict[str, Matrix] = field(default_factory=dict)
    positions: dict[str, TensorLayout] = field(default_factory=dict)
    floats: dict[str, TensorLayout] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    size: int = 0

    def digest(self) -> bytes:
        """sha256 of all that it says."""
        return hashlib.sha256(repr(self).encode()).digest()


def packed_layout(artifact: Artifact) -> PackedLayout:
    """That of an artifact."""
    tensors = list(model_layout(artifact.architecture, artifact.scheme, artifact.structure))
    by_name = {tensor.name: tensor for tensor in tensors}
    layout, sizes = PackedLayout(), dict[str, int]()
    biases: set[str] = set()
    for tensor in tensors:
        if tensor.part == "positions":
            layout.positions[tensor.name] = tensor
            sizes[f"{tensor.name}.codes"], sizes[f"{tensor.name}.scale"] = tensor.count, _FLOAT * tensor.shape[0]
        elif tensor.bits is not None and (matrix := _matrix(artifact, tensor, by_name)):
            layout.matrices[matrix.name] = matrix
            sizes[f"{matrix.name}.codes"] = math.prod(panels_shape(matrix.rows, matrix.columns, matrix.bits))
            sizes[f"{matrix.name}.scale"] = _FLOAT * matrix.padded_rows
            if matrix.biases:
                sizes[f"{matrix.name}.bias"] = _FLOAT * matrix.padded_rows
                biases |= set(matrix.biases)
    for tensor in tensors:
        if tensor.bits is None and tensor.name not in biases:
            layout.floats[tensor.name] = tensor
            sizes[tensor.name] = _FLOAT * tensor.count
    place = 0
    for name, size in sizes.items():
        layout.places[name] = place
        place += -(-size // ALIGNMENT) * ALIGNMENT
    return PackedLayout(layout.matrices, layout.positions, layout.floats, layout.places, place)


def _matrix(artifact: Artifact, tensor: TensorLayout, by_name: dict[str, TensorLayout]) -> Matrix | None:
    """What a matrix begins; None where it is part of one that began before."""
    if tensor.name in TOKEN_MATRICES:
        bias = (LOGITS_BIAS,) if has_bias(artifact, tensor.name) else ()
        return Matrix((tensor,), bias, artifact.scheme.embedding_bits)
    names = [tensor.name]
    if found := _PROJECTION.fullmatch(tensor.name):
        together = _TOGETHER[found["kind"]]
        if found["projection"] in together:
            names = [f"{found['attention']}.{projection}.weight" for projection in together]
            if names[0] != tensor.name:
                return None
    layers = [name.removesuffix(".weight") for name in names]
    biases = tuple(f"{layer}.bias" for layer in layers)
    return Matrix(tuple(by_name[name] for name in names), biases, bits_of(artifact, layers[0]))
