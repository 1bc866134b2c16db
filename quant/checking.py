"""Tensors against the layout: what is missing, left over, mis-shaped or no number, listed before any is packed or read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from quant.card import Card
from quant.layout import LOGITS_BIAS, TOKEN_MATRICES, Architecture, TensorLayout
from quant.numerics import Quantized, levels, round_to_half

MOST_WEIGHTS = 2**32
"""Of a model that we read; the largest BART or mBART that was released has 680 million."""


def weight_faults(
    architecture: Architecture, layout: Sequence[TensorLayout], weights: Mapping[str, Tensor | Quantized]
) -> list[str]:
    """Of a model's weights, in full precision or quantized, by their `transformers` names; tied copies may be among them."""
    faults = [fault for tensor in layout for fault in _weight_faults(tensor, weights)]
    return faults + _leftover_faults(architecture, layout, weights)


def size_faults(layout: Sequence[TensorLayout]) -> list[str]:
    """Of a model too large for what it says that it is; a file can claim any size and have holes for bytes."""
    count = sum(tensor.count for tensor in layout)
    return [f"the model has {count} weights, {MOST_WEIGHTS} at most are read"] if count > MOST_WEIGHTS else []


def stored_faults(layout: Sequence[TensorLayout], file: Any) -> list[str]:
    """Of an open safetensors file."""
    expected = {name: stored for tensor in layout for name, stored in tensor.stored().items()}
    found = set(file.keys())
    faults = [f"{name} is missing" for name in expected if name not in found]
    faults += [f"{name} is left over" for name in sorted(found - expected.keys())]
    for name, (dtype, shape) in expected.items():
        if name in found:
            entry = file.get_slice(name)
            if entry.get_dtype() != dtype or tuple(entry.get_shape()) != shape:
                faults.append(f"{name} is {entry.get_dtype()} {entry.get_shape()}, {dtype} {list(shape)} expected")
    return faults


def card_faults(card: Card, architecture: Architecture) -> list[str]:
    """Of what the card promises and the model cannot keep."""
    positions, longest = architecture.max_position_embeddings, card.max_source_tokens
    faults = []
    if longest > positions:
        faults.append(f"max_source_tokens is {longest}, the model has {positions} positions")
    if card.affixes >= longest:
        faults.append(f"prefix and suffix have {card.affixes} tokens, max_source_tokens is {longest}: no text fits between")
    return faults


def _weight_faults(tensor: TensorLayout, weights: Mapping[str, Tensor | Quantized]) -> list[str]:
    if tensor.name not in weights:
        return [f"{tensor.name} is missing"]
    weight = weights[tensor.name]
    if isinstance(weight, Quantized):
        return _quantized_faults(tensor, weight)
    if tuple(weight.shape) != tensor.shape:
        return [f"{tensor.name} has shape {list(weight.shape)}, {list(tensor.shape)} expected"]
    return [] if bool(weight.isfinite().all()) else [f"{tensor.name} holds NaN or infinity"]


def _quantized_faults(tensor: TensorLayout, weight: Quantized) -> list[str]:
    codes, scale = weight
    if tensor.bits is None:
        return [f"{tensor.name} is quantized, floating point expected"]
    if tuple(codes.shape) != tensor.shape or tuple(scale.shape) != tensor.scale_shape:
        found = f"codes {list(codes.shape)} and scale {list(scale.shape)}"
        return [f"{tensor.name} has {found}, {list(tensor.shape)} and {list(tensor.scale_shape)} expected"]
    largest = int(codes.int().abs().max())
    if largest > levels(tensor.bits):
        return [f"{tensor.name} has codes up to {largest}, {levels(tensor.bits)} is the largest of {tensor.bits} bits"]
    if not bool((scale.isfinite() & (scale >= 0)).all() and torch.equal(round_to_half(scale), scale)):
        return [f"{tensor.name} has a scale that is negative or no float16 value"]
    return []


def _leftover_faults(
    architecture: Architecture, layout: Sequence[TensorLayout], weights: Mapping[str, Tensor | Quantized]
) -> list[str]:
    faults = []
    for name in sorted(weights.keys() - {tensor.name for tensor in layout}):
        weight = weights[name]
        if name in TOKEN_MATRICES:
            stored = architecture.stored_as(name)
            if stored in weights and not _equal(weight, weights[stored]):
                faults.append(f"{name} differs from {stored}, to which it should be tied")
        elif name != LOGITS_BIAS:
            faults.append(f"{name} is left over")
        elif isinstance(weight, Quantized) or bool(weight.any()):
            faults.append(f"{LOGITS_BIAS} is not zero, but add_bias_logits is false")
    return faults


def _equal(one: Tensor | Quantized, other: Tensor | Quantized) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return isinstance(one, Quantized) and isinstance(other, Quantized) and all(map(torch.equal, one, other))
