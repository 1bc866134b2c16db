"""How much each block of a student suffers from fewer bits, measured before training.

All blocks are set to 8 bits, then one at a time to 4 and to 2: its sensitivity is the increase of the loss. The measure is
taken at once, on the untrained student, and is of one block at a time: what training makes good later, and what several
blocks do to each other, is not in it. Activations stay in floating point, as their bits are the same everywhere.

Fewer bits are those of rounding to the nearest, or as `AtBits` has them: of a student that is calibrated, what error
compensation leaves.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.data.batches import Batch
from quant.layout import TOKEN_MATRICES, block_of
from quant.numerics import CLIP, Ternary, fake_quantize
from quant.scheme import POSITION_BITS, Scheme

MOST_BITS = 8
FEWER_BITS = (4, 2)

Objective = Callable[[Batch], Callable[[PreTrainedModel], float]]
"""For a batch, what gives the loss of a model on it; so that what does not depend on the model is computed once a batch."""


AtBits = Callable[[str, int], torch.Tensor]
"""The values of a matrix of a block, by its stock name, at 4 or 2 bits."""


@dataclass(frozen=True)
class Sensitivity:
    """Mean losses over batches."""

    loss: float
    """With every block at 8 bits."""
    increase: Mapping[str, Mapping[int, float]]
    """Block → bits (4, 2) → loss above `loss` when this block alone has so many."""


def measure_sensitivity(
    student: PreTrainedModel,
    scheme: Scheme,
    batches: Sequence[Batch],
    objective: Objective,
    advance: Callable[[int], None] = lambda _: None,
    clip: float = CLIP,
    ternary: Ternary = "twn",
    at_bits: AtBits | None = None,
) -> Sensitivity:
    """Measure a stock model, which stays as it is. `clip` is what weights are clipped to when their scales are computed, and
    `ternary` how those of 2 bits are, where they are not `at_bits`.

    `advance` is called with each number of losses computed; there are `losses_measured` of them.
    """
    model = copy.deepcopy(student).eval().requires_grad_(False)
    values = {name: parameter.data for name, parameter in model.named_parameters()}

    def rounded(name: str, bits: int) -> torch.Tensor:
        return fake_quantize(values[name], bits, scheme.granularity, clip, ternary)

    fewer = at_bits or rounded
    by_block = _quantized_like(model, scheme, clip, ternary)
    at_eight = 0.0
    sums = {block: dict.fromkeys(FEWER_BITS, 0.0) for block in by_block}
    for batch in batches:
        loss = objective(batch.to(model.device))
        at_eight += loss(model) / len(batches)
        advance(1)
        for block, matrices in by_block.items():
            for bits in FEWER_BITS:
                with _fewer_bits(matrices, bits, fewer):
                    sums[block][bits] += loss(model) / len(batches)
                advance(1)
    increase = {block: {bits: total - at_eight for bits, total in of_block.items()} for block, of_block in sums.items()}
    return Sensitivity(at_eight, increase)


def losses_measured(blocks: int, batches: int) -> int:
    """How many losses a measurement computes."""
    return batches * (1 + blocks * len(FEWER_BITS))


@contextmanager
def _fewer_bits(matrices: Mapping[str, nn.Parameter], bits: int, fewer: AtBits) -> Iterator[None]:
    """Give the matrices the values of so many bits, for a while."""
    before = {name: parameter.data for name, parameter in matrices.items()}
    for name, parameter in matrices.items():
        parameter.data = fewer(name, bits)
    yield
    for name, parameter in matrices.items():
        parameter.data = before[name]


def _quantized_like(
    model: PreTrainedModel, scheme: Scheme, clip: float, ternary: Ternary
) -> dict[str, dict[str, nn.Parameter]]:
    """Give embeddings and positions the scheme's bits and the matrices of all blocks 8; those, by block and name."""
    by_block: dict[str, dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        values = parameter.data
        if (block := block_of(name)) is not None:
            if parameter.ndim == 2:
                by_block.setdefault(block, {})[name] = parameter
                parameter.data = fake_quantize(values, MOST_BITS, scheme.granularity, clip)
        elif parameter.ndim == 2:
            bits = scheme.embedding_bits if name in TOKEN_MATRICES else POSITION_BITS
            parameter.data = fake_quantize(values, bits, "row", clip, ternary)
    return by_block
