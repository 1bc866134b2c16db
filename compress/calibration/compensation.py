"""What error compensation makes of each block alone, so that bits can be spent by what it leaves.

The inputs are those of the student in floating point: unlike calibration, which goes forward over what is quantized already,
this is to tell blocks apart before any has its bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from compress.calibration.regression import RIDGE
from compress.calibration.solver import solve
from compress.data.batches import Batch
from compress.model.hooks import hooked
from compress.model.sensitivity import FEWER_BITS, AtBits
from quant.layout import block_of
from quant.numerics import Quantized, dequantize
from quant.scheme import Granularity


def compensated(
    student: PreTrainedModel,
    batches: Sequence[Batch],
    granularity: Granularity,
    advance: Callable[[int], None] = lambda _: None,
) -> AtBits:
    """The matrices of a stock model's blocks at 4 and 2 bits, each solved for its inputs on the batches.

    `advance` is called with the number of layers finished. In memory are the codes, a byte for each weight and kind of bits,
    and the moments of a layer at a time, for which the batches go through the model once each.
    """
    training = student.training
    student.eval()
    found: dict[tuple[str, int], Quantized] = {}
    for linears in _by_layer(student).values():
        for name, moment in _moments(student, linears, batches).items():
            weight = linears[name].weight.detach().float()
            for bits in FEWER_BITS:
                found[f"{name}.weight", bits] = solve(weight, moment, bits, granularity)
        advance(1)
    student.train(training)

    def at_bits(name: str, bits: int) -> Tensor:
        return dequantize(found[name, bits])

    return at_bits


def _by_layer(student: PreTrainedModel) -> dict[str, dict[str, nn.Linear]]:
    """The linear layers of blocks by their names, those of a layer together."""
    layers: dict[str, dict[str, nn.Linear]] = {}
    for name, module in student.named_modules():
        block = block_of(name)
        if block is not None and isinstance(module, nn.Linear):
            layers.setdefault(block.rpartition(".")[0], {})[name] = module
    return layers


@torch.inference_mode()
def _moments(student: PreTrainedModel, linears: Mapping[str, nn.Linear], batches: Sequence[Batch]) -> dict[str, Tensor]:
    """The second moment of each one's inputs over real tokens, with a ridge; float32 [columns, columns]."""
    sums: dict[str, Tensor] = {}
    for batch in batches:
        on_device = batch.to(student.device)
        with _inputs(linears) as inputs:
            student.model(**on_device.model_inputs)
        products: dict[int, Tensor] = {}  # query, key and value read the same
        for name, states in inputs.items():
            if id(states) not in products:
                of_source = ".encoder." in name or name.endswith(("encoder_attn.k_proj", "encoder_attn.v_proj"))
                tokens = states[on_device.source_mask if of_source else on_device.target_mask].float()
                products[id(states)] = (tokens.T @ tokens).double()
            product = products[id(states)]
            sums[name] = sums[name] + product if name in sums else product
    count = sum(int(batch.target_mask.sum()) for batch in batches)
    return {name: _with_ridge(total / count).float() for name, total in sums.items()}


def _with_ridge(moment: Tensor) -> Tensor:
    moment.diagonal().add_(RIDGE * float(moment.diagonal().mean().clamp(min=1e-12)))
    return moment


@contextmanager
def _inputs(linears: Mapping[str, nn.Linear]) -> Iterator[dict[str, Tensor]]:
    """Filled with what each is given, while the block lasts."""
    inputs: dict[str, Tensor] = {}

    def noting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            inputs[name] = given[0]

        return note

    handles = [module.register_forward_pre_hook(noting(name)) for name, module in linears.items()]
    with hooked(handles):
        yield inputs
