"""Codes and scales of a matrix that lose least on its inputs: error compensation and coordinate descent, all rows at once.

For a target W* [rows, columns] and the inputs' second moment H [columns, columns], codes T and scales a minimize

    tr (W* - aT) H (W* - aT)^T

First comes a pass of GPTQ (Frantar et al., ICLR 2023), which rounds column after column and lets the columns to come make
good the error, from several starting scales; the scale that is best for the codes has a closed form. Then coordinate descent
rounds each weight anew, given all others, a few times over. What comes out is never worse by this measure than rounding to
the nearest, which is taken where nothing beats it.

It is thousands of small operations on 64 columns at a time; a product with all columns follows each of those. Rows are
worked on in pieces, so that memory is bounded whatever their number.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from compress.model.straight_through import SMALLEST_SCALE
from quant.numerics import Quantized, levels, quantize, quantize_with_scale, round_to_half
from quant.scheme import Granularity

STARTS: Mapping[int, tuple[float, ...]] = {2: (0.75, 0.9, 1.05, 1.25), 4: (0.7, 0.8, 0.9, 1.0), 8: (1.0,)}
"""By bits: the scales that are tried at first, as multiples of those of rounding to the nearest."""
SWEEPS = 4
"""Of coordinate descent before the scale is rounded to float16; one comes after it."""
_BLOCK = 64
_PIECE = 2**22
"""Weights worked on at a time, where rows have scales of their own."""
_DAMPING = 1e-4
"""Of the mean of the diagonal, added to it: what makes the factor exist where inputs do not span all columns."""


def solve(target: Tensor, moment: Tensor, bits: int, granularity: Granularity = "row") -> Quantized:
    """Codes int8 and scale for `target` float32 [rows, columns], given `moment` [columns, columns], symmetric.

    Scales are [rows, 1], or [1, 1] with one for the matrix; all are exact in float16 and at least `SMALLEST_SCALE`.
    Deterministic. Raises ValueError for other bits than 2, 4 and 8.
    """
    rows, columns = target.shape
    levels(bits)  # refuses others
    diagonal = moment.diagonal()
    damped = moment.double() + _DAMPING * diagonal.mean().clamp(min=1e-12) * torch.eye(columns, device=moment.device)
    order = torch.argsort(diagonal, descending=True, stable=True)  # the columns that matter most have most to come after
    damped = damped[order][:, order]
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True).float()
    damped = damped.float()
    codes = torch.empty(rows, columns, dtype=torch.int8, device=target.device)
    scales = []
    size = max(1, _PIECE // columns) if granularity == "row" else rows
    for start in range(0, rows, size):
        piece = target[start : start + size]
        solved = _Piece(piece[:, order], damped, factor, bits, granularity).solved()
        codes[start : start + size, order] = solved.codes.to(torch.int8)
        scales.append(solved.scale)
    return Quantized(codes, torch.cat(scales))


class _Piece:
    """Some rows, as columns [columns, rows]: what is worked on next lies together. Scales are [1, rows]."""

    def __init__(self, target: Tensor, moment: Tensor, factor: Tensor, bits: int, granularity: Granularity) -> None:
        self._moment = moment
        self._factor = factor
        self._most = levels(bits)
        self._shared = granularity == "matrix"
        self._starts = STARTS[bits]
        self._nearest = _nearest(target, bits, granularity)
        self._target = target.T.contiguous()
        self._weighed = moment @ self._target

    def solved(self) -> Quantized:
        nearest = self._nearest.scale.T.expand(1, self._target.shape[1])
        first = [self._improved(nearest * multiple) for multiple in self._starts]
        codes, scale, product = _best(first)
        codes, scale, product = _best([(codes, scale, product, self._lost(codes, scale, product)), self._improved(scale)])
        for _ in range(SWEEPS):
            product, changed = self._sweep(codes, scale, product)
            scale = self._scale(codes, product, scale)
            if not changed:
                break
        # Codes are for the scale that is stored, not for one that is near it.
        scale = round_to_half(scale).clamp_(min=SMALLEST_SCALE)
        self._sweep(codes, scale, product)
        rounded = self._nearest.codes.T.float(), nearest
        codes, scale, _ = _best([(*each, codes, self._exactly_lost(*each)) for each in ((codes, scale), rounded)])
        return Quantized(codes.T, scale[:, :1] if self._shared else scale.T)

    def _improved(self, scale: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Codes by compensation at a scale, the best scale for them, the moment times codes, and what is lost."""
        codes = self._compensated(scale)
        product = self._moment @ codes
        scale = self._scale(codes, product, scale)
        return codes, scale, product, self._lost(codes, scale, product)

    def _compensated(self, scale: Tensor) -> Tensor:
        """A pass of GPTQ."""
        left, factor = self._target.clone(), self._factor
        codes = torch.empty_like(left)
        (by_row,) = scale
        inverse = 1 / by_row
        for start in range(0, len(left), _BLOCK):
            block = left[start : start + _BLOCK]
            end = start + len(block)
            errors = torch.empty_like(block)
            inner = factor[start:end, start:end]
            pivots = inner.diagonal().tolist()
            for index, pivot in enumerate(pivots):
                code = torch.mul(block[index], inverse, out=codes[start + index]).round_().clamp_(-self._most, self._most)
                error = torch.addcmul(block[index], by_row, code, value=-1, out=errors[index]).div_(pivot)
                block[index + 1 :].addr_(inner[index, index + 1 :], error, alpha=-1)
            if end < len(left):
                left[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)
        return codes

    def _sweep(self, codes: Tensor, scale: Tensor, product: Tensor) -> tuple[Tensor, bool]:
        """A sweep of coordinate descent over `codes`, in place; the moment times the codes, and whether any changed."""
        gradient = self._weighed - scale * product
        (by_row,) = scale
        inverse = 1 / by_row
        changed = False
        for start in range(0, len(codes), _BLOCK):
            block = gradient[start : start + _BLOCK].clone()
            end = start + len(block)
            changes = torch.empty_like(block)
            inner = self._moment[start:end, start:end]
            pivots = inner.diagonal().tolist()
            for index, pivot in enumerate(pivots):
                before = codes[start + index]
                code = torch.addcmul(before, block[index], inverse, value=1 / pivot)
                code.round_().clamp_(-self._most, self._most)
                change = torch.sub(code, before, out=changes[index]).mul_(by_row)
                before.copy_(code)
                block[index + 1 :].addr_(inner[index, index + 1 :], change, alpha=-1)
            if changes.any():
                changed = True
                gradient.addmm_(self._moment[:, start:end], changes, alpha=-1)
        return gradient.neg_().add_(self._weighed).div_(scale), changed

    def _scale(self, codes: Tensor, product: Tensor, before: Tensor) -> Tensor:
        """The best for these codes; what it was where all of them are 0."""
        ours, own = self._over_rows(codes, self._weighed), self._over_rows(codes, product)
        return torch.where((own > 0) & (ours > 0), ours / own, before).clamp_(min=SMALLEST_SCALE)

    def _lost(self, codes: Tensor, scale: Tensor, product: Tensor) -> Tensor:
        """Of what would be lost with codes of 0, less what is lost with these: negative, [1, rows]."""
        return scale**2 * self._over_rows(codes, product) - 2 * scale * self._over_rows(codes, self._weighed)

    def _exactly_lost(self, codes: Tensor, scale: Tensor) -> Tensor:
        missing = self._target - codes * scale
        return self._over_rows(missing, self._moment @ missing)

    def _over_rows(self, one: Tensor, other: Tensor) -> Tensor:
        """Sums of products for what shares a scale, [1, rows]."""
        sums = (one * other).sum(0, keepdim=True)
        return sums.sum().expand_as(sums) if self._shared else sums


def _nearest(target: Tensor, bits: int, granularity: Granularity) -> Quantized:
    """Rounding to the nearest, with no scale below the smallest that a learned one may have."""
    nearest = quantize(target, bits, granularity, torch.inf)
    if bool((nearest.scale >= SMALLEST_SCALE).all()):
        return nearest
    small = quantize_with_scale(target, nearest.scale.clamp(min=SMALLEST_SCALE), bits)
    return Quantized(torch.where(nearest.scale < SMALLEST_SCALE, small.codes, nearest.codes), small.scale)


def _best(candidates: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row the first of codes, scale and product whose last entry is the least."""
    codes, scale, product, lost = candidates[0]
    for more_codes, more_scale, more_product, more_lost in candidates[1:]:
        better = more_lost < lost
        codes = torch.where(better, more_codes, codes)
        scale = torch.where(better, more_scale, scale)
        product = torch.where(better, more_product, product)
        lost = torch.where(better, more_lost, lost)
    return codes, scale, product
