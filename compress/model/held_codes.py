"""Codes of a matrix that stay as they are while its scales are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from compress.model.straight_through import SMALLEST_SCALE, straight_through
from quant.numerics import Quantized, round_to_half


class HeldCodes(nn.Module):
    """Whole numbers [rows, columns] times a scale a row, or one for the matrix: base · exp(growth), rounded to float16.

    What is trained is the growth, from zero on: a step of one size changes each scale by the same share of itself, which
    suits AdamW.
    """

    def __init__(self, quantized: Quantized) -> None:
        """`quantized` has codes of int8 and a scale of float32, [rows, 1] or [1, 1]."""
        super().__init__()
        self.codes = quantized.codes
        self.base = quantized.scale
        self.growth = nn.Parameter(torch.zeros_like(quantized.scale))

    def scale(self) -> Tensor:
        """float32 [rows, 1] or [1, 1], exact in float16, with a straight-through gradient."""
        grown = self.base * self.growth.exp()
        return straight_through(grown, round_to_half(grown.detach()).clamp_(min=SMALLEST_SCALE))

    def values(self) -> Tensor:
        """The matrix, float32 [rows, columns]."""
        return self.codes * self.scale()

    def rows(self, indices: Tensor) -> Tensor:
        """Rows [..., columns] of the matrix for `indices` [...]; scales are by row."""
        return self.codes[indices] * functional.embedding(indices, self.scale())

    @torch.no_grad()
    def quantized(self) -> Quantized:
        """As things stand."""
        return Quantized(self.codes, self.scale())
