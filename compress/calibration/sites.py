"""The places of a layer where matrices are fitted, found by watching a forward pass rather than by the names of a family.

A *site* is one linear layer, or several that read the same states (query, key and value). What a site gives goes on within
its block, or, last in a block, is added to the stream of states. That *sum* is what normalizations read: the next block's,
where they stand before blocks (mBART), or the block's own, where they stand after (BART). Either way it is the input of the
normalization that is called next, or what the layer returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from compress.model.hooks import hooked
from compress.model.quantized_modules import QuantizedLinear


@dataclass(frozen=True)
class Site:
    """Linear layers that share an input, by their names in the layer."""

    names: tuple[str, ...]
    reads_memory: bool
    """Whether the input is the encoder's output."""
    writes: bool = False
    """Whether what it gives is added to the stream."""
    norm: str | None = None
    """Of one that writes: the normalization that reads the sum; None where the sum is what the layer returns."""
    block: str = ""
    """Of one that writes: the module around it that gives the block's output, an attention or the layer itself."""
    outputs: int = 0
    """How many that module gives: 0 where it is no tuple."""


def is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | QuantizedLinear)


def find_sites(layer: nn.Module, forward: Callable[[], Any], memory: Tensor | None) -> list[Site]:
    """The sites of a layer in their order; `forward` runs it once, with `memory` for the encoder's output."""
    events: list[tuple[str, Tensor | None]] = []  # linear layers with their inputs, and normalizations
    outputs: dict[str, int] = {}

    def called(name: str, module: nn.Module) -> Callable[..., None]:
        def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            events.append((name, inputs[0] if is_linear(module) else None))

        return note

    def returned(name: str) -> Callable[..., None]:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            outputs[name] = len(output) if isinstance(output, tuple) else 0

        return note

    handles = [
        module.register_forward_pre_hook(called(name, module))
        for name, module in layer.named_modules()
        if is_linear(module) or _is_norm(module)
    ]
    handles += [module.register_forward_hook(returned(name)) for name, module in layer.named_modules()]
    with hooked(handles):
        forward()
    return list(_sites(events, outputs, memory))


def _sites(events: list[tuple[str, Tensor | None]], outputs: dict[str, int], memory: Tensor | None) -> Iterator[Site]:
    index = 0
    while index < len(events):
        name, states = events[index]
        index += 1
        if states is None:
            continue
        names = [name]
        while index < len(events) and events[index][1] is states:
            names.append(events[index][0])
            index += 1
        site = Site(tuple(names), states is memory)
        following = events[index] if index < len(events) else None
        if following is None or following[1] is None:
            around = names[-1].rpartition(".")[0]
            site = replace(site, writes=True, norm=following and following[0], block=around, outputs=outputs[around])
        yield site


def _is_norm(module: nn.Module) -> bool:
    """One that has a scale for each feature, whatever its class."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 1 and not list(module.children())


def no_output(states: Tensor, outputs: int) -> Any:
    """What a module gives that adds nothing to the stream."""
    zeros = torch.zeros_like(states)
    return zeros if outputs == 0 else (zeros, *[None] * (outputs - 1))
