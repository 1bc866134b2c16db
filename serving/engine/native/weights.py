"""Where the native runner has its weights from: packed of an artifact in memory, or lying packed already."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from quant.artifact import Artifact
from quant.layout import HEAD, LOGITS_BIAS, block_of
from quant.numerics import Quantized
from serving.engine.native.linear import PackedLinear


class Weights(Protocol):
    """The weights of one model."""

    def linear(self, *names: str) -> PackedLinear:
        """The linear layers of these names, below one another."""

    def token_matrix(self, name: str) -> PackedLinear:
        """One of `quant.layout.TOKEN_MATRICES`; the bias of the logits, where there is one, lies with the head's."""

    def positions(self, name: str) -> Quantized:
        """Position embeddings: contiguous codes int8 [positions, width] and scales float32 [positions]."""

    def tensor(self, name: str) -> Tensor:
        """What is stored in floating point."""


def bits_of(artifact: Artifact, layer: str) -> int:
    """Of a linear layer's weights; those that are multiplied together are of one block."""
    return artifact.structure.block_bits.get(block_of(layer) or "", artifact.scheme.weight_bits)


def has_bias(artifact: Artifact, stored: str) -> bool:
    """Whether a token matrix, by the name that it is stored under, has the bias of the logits."""
    architecture = artifact.architecture
    return architecture.add_bias_logits and stored == architecture.stored_as(HEAD)


class ArtifactWeights:
    """Weights of an artifact in memory, packed as they are asked for."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._token_matrices: dict[str, PackedLinear] = {}

    def linear(self, *names: str) -> PackedLinear:
        weights = [self._artifact.quantized(f"{name}.weight") for name in names]
        biases = [self._artifact.tensor(f"{name}.bias") for name in names]
        return PackedLinear(weights, biases, bits_of(self._artifact, names[0]))

    def token_matrix(self, name: str) -> PackedLinear:
        artifact, stored = self._artifact, self._artifact.architecture.stored_as(name)
        if stored not in self._token_matrices:
            biases = [artifact.tensor(LOGITS_BIAS)[0]] if has_bias(artifact, stored) else []
            packed = PackedLinear([artifact.quantized(stored)], biases, artifact.scheme.embedding_bits)
            self._token_matrices[stored] = packed
        return self._token_matrices[stored]

    def positions(self, name: str) -> Quantized:
        codes, scale = self._artifact.quantized(name)
        return Quantized(codes.contiguous(), scale.expand(codes.shape[0], 1)[:, 0].contiguous())

    def tensor(self, name: str) -> Tensor:
        return self._artifact.tensor(name)
