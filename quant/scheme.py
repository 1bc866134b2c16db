"""The notation of the paper: bits are written W-E-A (`2-2-8`), layers E-D (`6-3`).

W is the bits of the weights of every linear layer, E those of the shared embedding (and so of the tied head), A those of
the activations. A scheme may end in `/row` or `/matrix`, the granularity of the weights' scales. `/row` is the default and
is not printed: a scale for each output costs 1 % more bytes and loses less than the paper's one scale for each matrix.
Embeddings have one scale a row in either, as in the paper.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

Granularity = Literal["row", "matrix"]

WEIGHT_BITS = (2, 4, 8)
ACTIVATION_BITS = (8, 16)
POSITION_BITS = 8

_ACCEPTED = "write W-E-A like 2-2-8: W and E are 2, 4 or 8, A is 8 or 16 (off); add /row or /matrix for the weights' scales"


class NotationError(ValueError):
    """A scheme or a layer pair that cannot be read. The message says what is accepted."""


@dataclass(frozen=True)
class Scheme:
    """Bits of weights, embeddings and activations, and how many weights share a scale."""

    weight_bits: int
    embedding_bits: int
    activation_bits: int
    granularity: Granularity = "row"

    def __post_init__(self) -> None:
        if (
            self.weight_bits not in WEIGHT_BITS
            or self.embedding_bits not in WEIGHT_BITS
            or self.activation_bits not in ACTIVATION_BITS
            or self.granularity not in get_args(Granularity)
        ):
            raise NotationError(f"{self} is not a scheme: {_ACCEPTED}")

    @classmethod
    def parse(cls, text: str) -> Scheme:
        """Read `2-2-8` or `2-2-8/matrix`. Raises NotationError."""
        match = re.fullmatch(r"([0-9]{1,3})-([0-9]{1,3})-([0-9]{1,3})(?:/([a-z]+))?", text.strip())
        if match is None:
            raise NotationError(f"{text!r} is not a scheme: {_ACCEPTED}")
        weight, embedding, activation, granularity = match.groups()
        return cls(int(weight), int(embedding), int(activation), granularity or "row")  # type: ignore[arg-type]

    @property
    def quantizes_activations(self) -> bool:
        return self.activation_bits < 16

    def __str__(self) -> str:
        suffix = "" if self.granularity == "row" else f"/{self.granularity}"
        return f"{self.weight_bits}-{self.embedding_bits}-{self.activation_bits}{suffix}"


@dataclass(frozen=True)
class Layers:
    """Number of encoder and decoder layers of a student."""

    encoder: int
    decoder: int

    def __post_init__(self) -> None:
        if self.encoder < 1 or self.decoder < 1:
            raise NotationError(f"{self} is not a layer pair: write E-D like 6-3, each at least 1")

    @classmethod
    def parse(cls, text: str) -> Layers:
        """Read `6-3`. Raises NotationError."""
        match = re.fullmatch(r"([0-9]{1,3})-([0-9]{1,3})", text.strip())
        if match is None:
            raise NotationError(f"{text!r} is not a layer pair: write E-D like 6-3, each at least 1")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.encoder}-{self.decoder}"
