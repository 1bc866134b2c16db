"""A budget of bytes spent on the bits of blocks, where it saves most loss.

All blocks start at 2 bits. Again and again the step is taken that saves most loss for each byte it costs, of those that the
budget still allows: a block from 2 bits to 4, from 2 to 8, or from 4 to 8. It ends when no step fits, or none saves
anything. Greedy is not optimal, but each block is small beside the whole, and the sensitivities are estimates anyway.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from compress.errors import CompressError
from compress.model.sensitivity import MOST_BITS
from quant.file_size import file_bytes
from quant.layout import Architecture, block_of, model_layout
from quant.scheme import WEIGHT_BITS, Scheme
from quant.structure import Structure


class BudgetError(CompressError):
    """A ratio that no choice of bits reaches."""


def spend(
    increase: Mapping[str, Mapping[int, float]],
    architecture: Architecture,
    scheme: Scheme,
    heads: Mapping[str, int],
    teacher_bytes: int,
    ratio: float,
) -> Structure:
    """The structure whose file is at least `ratio` times smaller than `teacher_bytes`, header included.

    `increase` is the loss that each block of the model adds at fewer bits than 8; `heads` are those left in the pruned
    attentions. Bits that are the scheme's own are not named in the structure. Raises BudgetError.
    """
    budget = int(teacher_bytes / ratio)
    bits = dict.fromkeys(increase, min(WEIGHT_BITS))

    def size(of_blocks: Mapping[str, int]) -> int:
        return file_bytes(architecture, scheme, _structure(of_blocks, scheme, heads))

    if size(bits) > budget:
        most = math.floor(10 * teacher_bytes / size(bits)) / 10  # rounded down, so that it is not refused in its turn
        raise BudgetError(
            f"target_ratio is {ratio:g}x: a student of {architecture.layers} layers with {scheme.embedding_bits}-bit "
            f"embeddings and every block at {min(WEIGHT_BITS)} bits is {most:.1f}x smaller, which is "
            "the most; take fewer layers, fewer bits for embeddings (--bits W-E-A), or remove more heads"
        )
    cost = _block_bytes(architecture, scheme, heads)
    while True:
        worth = {
            (block, more): _saved(increase[block], now, more) / (cost[block][more] - cost[block][now])
            for block, now in bits.items()
            for more in WEIGHT_BITS
            if more > now
        }
        useful = sorted((step for step, value in worth.items() if value > 0), key=lambda step: -worth[step])
        fitting = next((step for step in useful if size(bits | dict([step])) <= budget), None)
        if fitting is None:
            return _structure(bits, scheme, heads)
        bits |= dict([fitting])


def _saved(increase: Mapping[int, float], now: int, more: int) -> float:
    at_most = {**increase, MOST_BITS: 0.0}
    return at_most[now] - at_most[more]


def _structure(bits: Mapping[str, int], scheme: Scheme, heads: Mapping[str, int]) -> Structure:
    return Structure({block: count for block, count in bits.items() if count != scheme.weight_bits}, dict(heads))


def _block_bytes(architecture: Architecture, scheme: Scheme, heads: Mapping[str, int]) -> dict[str, dict[int, int]]:
    """Block → bits → stored bytes of the block's tensors."""
    sizes: dict[str, dict[int, int]] = {}
    for bits in WEIGHT_BITS:
        layout = model_layout(architecture, replace(scheme, weight_bits=bits), Structure(heads=dict(heads)))
        for tensor in layout:
            if (block := block_of(tensor.name)) is not None:
                of_block = sizes.setdefault(block, {})
                of_block[bits] = of_block.get(bits, 0) + tensor.stored_bytes
    return sizes
