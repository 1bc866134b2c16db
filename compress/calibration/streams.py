"""States on their way through a stock model, a layer at a time, in both of its stacks.

A stack is run by its own `forward`, which makes the masks and whatever else its layers are given, with one layer in the
place of all: the one that is looked at, on the states that have come so far. So no family needs a second forward pass here.

Within a layer, states stand at a *sum* (`compress.calibration.sites`): blocks that are behind give nothing more, and the
rest of the layer goes on from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from compress.calibration.sites import Site, find_sites, no_output
from compress.data.batches import Batch
from compress.model.hooks import hooked


class _Stop(Exception):
    """What was wanted of a forward pass is there."""


class _Only(nn.Module):
    """Stands for all layers of a stack."""

    def __init__(self, call: Callable[..., Any]) -> None:
        super().__init__()
        self._call = call

    def forward(self, states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self._call(states, *args, **kwargs)


class Stack:
    """The encoder or the decoder of a model."""

    def __init__(self, model: PreTrainedModel, part: str) -> None:
        self._stack: Any = getattr(model.model, part)
        self.part = part
        self.layers: list[Any] = list(self._stack.layers)

    def begin(self, batch: Batch) -> Tensor:
        """What its first layer is given: embeddings, with positions, normalized."""
        ids = batch.source_ids if self.part == "encoder" else batch.decoder_ids
        memory = torch.zeros(*batch.source_ids.shape, 1, device=ids.device)
        found: list[Tensor] = []

        def keep(states: Tensor, *_: Any, **__: Any) -> Tensor:
            found.append(states)
            raise _Stop

        with suppress(_Stop):
            self._call(batch, memory, keep, input_ids=ids)
        return found[0]

    def end(self, batch: Batch, states: Tensor, memory: Tensor | None) -> Tensor:
        """What it gives when its last layer gives `states`."""
        output: Tensor = self._call(batch, memory, lambda *_, **__: states, inputs_embeds=states).last_hidden_state
        return output

    def run(self, index: int, batch: Batch, states: Tensor, memory: Tensor | None, behind: Sequence[Site] = ()) -> Tensor:
        """What a layer gives for `states`, which stand at the sum of the last block `behind`, or at its beginning."""
        output = self._run(index, batch, states, memory, behind)
        assert output is not None
        return output

    def sites(self, index: int, batch: Batch, states: Tensor, memory: Tensor | None) -> list[Site]:
        """Of a layer, found on one batch."""
        return find_sites(self.layers[index], lambda: self.run(index, batch, states, memory), memory)

    def outputs(
        self, index: int, site: Site, batch: Batch, states: Tensor, memory: Tensor | None, behind: Sequence[Site]
    ) -> list[Tensor]:
        """What each linear layer of a site gives."""
        found: list[Tensor] = []

        def keep(_: nn.Module, __: Any, output: Tensor) -> None:
            found.append(output)
            if len(found) == len(site.names):
                raise _Stop

        modules = [self.layers[index].get_submodule(name) for name in site.names]
        with hooked([module.register_forward_hook(keep) for module in modules]):
            self._run(index, batch, states, memory, behind)
        return found

    def inputs(
        self, index: int, site: Site, batch: Batch, states: Tensor, memory: Tensor | None, behind: Sequence[Site]
    ) -> Tensor:
        """What the linear layers of a site are given."""
        module = self.layers[index].get_submodule(site.names[0])
        with _first_input(module) as found:
            self._run(index, batch, states, memory, behind)
        return found[0]

    def sum(
        self, index: int, site: Site, batch: Batch, states: Tensor, memory: Tensor | None, behind: Sequence[Site]
    ) -> Tensor:
        """The stream with what a site that writes has added."""
        if site.norm is None:
            return self.run(index, batch, states, memory, behind)
        with _first_input(self.layers[index].get_submodule(site.norm)) as found:
            self._run(index, batch, states, memory, behind)
        return found[0]

    def residual(
        self, index: int, site: Site, batch: Batch, states: Tensor, memory: Tensor | None, behind: Sequence[Site]
    ) -> tuple[Tensor, Tensor]:
        """The input of a site that writes, and the stream that it will be added to."""
        module: Any = self.layers[index].get_submodule(site.names[0])
        found: list[Tensor] = []

        def nothing(inputs: Tensor) -> Tensor:
            found.append(inputs)
            return inputs.new_zeros(*inputs.shape[:-1], module.weight.shape[0])

        with _replaced(module, nothing):
            stream = self.sum(index, site, batch, states, memory, behind)
        return found[0], stream

    def _run(self, index: int, batch: Batch, states: Tensor, memory: Tensor | None, behind: Sequence[Site]) -> Tensor | None:
        """As `run`; None where a hook in the layer stopped it."""
        layer = self.layers[index]
        found: list[Tensor] = []

        def call(_: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            output = layer(states, *args, **kwargs)
            found.append(output[0] if isinstance(output, tuple) else output)
            raise _Stop

        with _silent(layer, behind), suppress(_Stop):
            self._call(batch, memory, call, inputs_embeds=states)
        return found[0] if found else None

    def _call(self, batch: Batch, memory: Tensor | None, call: Callable[..., Any], **given: Tensor) -> Any:
        layers = self._stack.layers
        self._stack.layers = nn.ModuleList([_Only(call)])
        try:
            if self.part == "encoder":
                return self._stack(attention_mask=batch.source_mask.long(), **given)
            return self._stack(
                encoder_hidden_states=memory, encoder_attention_mask=batch.source_mask.long(), use_cache=False, **given
            )
        finally:
            self._stack.layers = layers


@contextmanager
def _silent(layer: nn.Module, behind: Sequence[Site]) -> Iterator[None]:
    """The layer without what these blocks give."""
    with ExitStack() as replacing:
        for site in behind:
            replacing.enter_context(_replaced(layer.get_submodule(site.block), partial(_nothing, site.outputs)))
        yield


def _nothing(outputs: int, *args: Any, **kwargs: Any) -> Any:
    return no_output(args[0] if args else kwargs["hidden_states"], outputs)


@contextmanager
def _replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """The module with another forward pass."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward


@contextmanager
def _first_input(module: nn.Module) -> Iterator[list[Tensor]]:
    """Filled with what the module is given first, which stops the forward pass."""
    found: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0])
        raise _Stop

    with hooked([module.register_forward_pre_hook(keep)]):
        yield found
