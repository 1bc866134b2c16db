"""Attention-head pruning: heads that matter least are scored, then removed for good.

"Are Sixteen Heads Really Better than One?" (Michel et al., NeurIPS 2019). Each head gets a gate ξ of 1 that multiplies its
output; how much the loss depends on the head is |∂L/∂ξ|, a mean over examples. Scores are divided by their Euclidean norm
within each attention (section 4.1), since gradients of different layers are not of one size.

A removed head leaves the matrices: its rows of the query, key and value projections and its columns of the output
projection. The stock attention modules work unforked with what is left, because they take the number of heads from the
shape of what the projections give. The heads are chosen once, before training; an attention keeps one head at least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from compress.data.batches import Batch
from compress.errors import CompressError
from compress.model.hooks import hooked
from compress.model.token_losses import TokenWeights, head_of, token_losses

_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_ATTENTIONS = {"encoder": ("self_attn",), "decoder": ("self_attn", "encoder_attn")}


class PruningError(CompressError):
    """More heads are to be removed than can be."""


def attentions(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The attention modules of a BART or mBART by their names as blocks, such as `decoder.layers.1.encoder_attn`."""
    return {
        f"{stack}.layers.{index}.{kind}": getattr(layer, kind)
        for stack, kinds in _ATTENTIONS.items()
        for index, layer in enumerate(getattr(model.model, stack).layers)
        for kind in kinds
    }


def resize_heads(model: PreTrainedModel, heads: Mapping[str, int]) -> None:
    """Give the named attentions of a stock model so many heads, in place: the first ones stay."""
    keep_heads(model, {block: range(count) for block, count in heads.items()})


def keep_heads(model: PreTrainedModel, kept: Mapping[str, Sequence[int]]) -> None:
    """Remove all heads but the `kept` ones from the named attentions of a stock model, in place."""
    by_name = attentions(model)
    for block, indices in kept.items():
        attention: Any = by_name[block]
        width = attention.head_dim
        rows = torch.cat([torch.arange(index * width, (index + 1) * width) for index in indices])
        for name in _PROJECTIONS:
            projection = getattr(attention, name)
            projection.weight, projection.bias = _part(projection.weight, rows, 0), _part(projection.bias, rows, 0)
            projection.out_features = len(rows)
        attention.out_proj.weight = _part(attention.out_proj.weight, rows, 1)
        attention.out_proj.in_features = len(rows)
        attention.num_heads = len(indices)


def live_heads(model: PreTrainedModel) -> dict[str, list[int]]:
    """Indices of the heads that are more than zeros, of each attention with others, which neither add anything nor learn.

    So come back the heads that a packed teacher has lost, as a stock model has no other place for them.
    """
    live: dict[str, list[int]] = {}
    attention: Any
    for block, attention in attentions(model).items():
        heads = _heads(attention)
        value, out = attention.v_proj, attention.out_proj
        rows = torch.cat([value.weight, value.bias[:, None]], dim=1).view(heads, -1)
        columns = out.weight.T.reshape(heads, -1)
        alive = (rows.any(1) | columns.any(1)).nonzero().flatten().tolist()
        if len(alive) < heads:
            live[block] = alive or [0]
    return live


def score_heads(
    model: PreTrainedModel, batches: Sequence[Batch], advance: Callable[[int], None] = lambda _: None
) -> dict[str, Tensor]:
    """For each attention, float32 [heads] of importance: |∂L/∂ξ| summed over examples, divided by its norm over the heads.

    L is the cross-entropy of one example's labels, summed. `advance` is called with the number of batches finished.
    """
    sums = {block: torch.zeros(_heads(attention), device=model.device) for block, attention in attentions(model).items()}
    training = model.training
    model.eval()
    for batch in batches:
        for block, gradient in _gate_gradients(model, batch.to(model.device)).items():
            sums[block] += gradient.abs().sum(0)
        advance(1)
    model.train(training)
    return {block: functional.normalize(total, dim=0).cpu() for block, total in sums.items()}


def heads_to_keep(scores: Mapping[str, Tensor], share: float) -> dict[str, list[int]]:
    """Indices of the heads that stay in each attention that loses some, when `share` of all heads go, lowest scores first.

    The best head of each attention stays. Raises PruningError where that leaves fewer to remove than `share` asks for.
    """
    total = sum(len(of_block) for of_block in scores.values())
    most = total - len(scores)
    count = round(share * total)
    if count > most:
        raise PruningError(
            f"prune_heads is {share}, {count} of {total} heads: {most / total:.3g} is the most, "
            f"since each of {len(scores)} attentions keeps one"
        )
    candidates = [
        (float(score), order, block, index)
        for order, (block, of_block) in enumerate(scores.items())
        for index, score in enumerate(of_block)
        if index != int(of_block.argmax())
    ]
    removed = {(block, index) for _, _, block, index in sorted(candidates)[:count]}
    kept = {
        block: [index for index in range(len(of_block)) if (block, index) not in removed]
        for block, of_block in scores.items()
    }
    return {block: indices for block, indices in kept.items() if len(indices) < len(scores[block])}


def prune_heads(model: PreTrainedModel, scores: Mapping[str, Tensor], share: float) -> dict[str, list[int]]:
    """Remove `share` of all heads from a stock model, in place. Returns `heads_to_keep`; raises PruningError."""
    kept = heads_to_keep(scores, share)
    keep_heads(model, kept)
    return kept


def _gate_gradients(model: PreTrainedModel, batch: Batch) -> dict[str, Tensor]:
    """∂L/∂ξ of every gate for every example, [examples, heads] by attention."""
    gates = {
        block: torch.ones(len(batch.source_ids), _heads(attention), device=model.device, requires_grad=True)
        for block, attention in attentions(model).items()
    }
    with torch.enable_grad(), _gated(model, gates):
        states = model.model(**batch.model_inputs).last_hidden_state[batch.target_mask]
        labels, head = batch.labels[batch.target_mask], head_of(model, states, bf16=False)
        head = head._replace(weight=head.weight.detach())  # its gradient, as large as the embedding, is not asked for
        # A sum, in which each example's gates have the gradient of that example's loss alone.
        loss = token_losses(head, labels, None, TokenWeights())["total"] * len(labels)
        gradients = torch.autograd.grad(loss, list(gates.values()))
    return dict(zip(gates, gradients, strict=True))


@contextmanager
def _gated(model: PreTrainedModel, gates: Mapping[str, Tensor]) -> Iterator[None]:
    """Multiply what each head gives to the output projection by its gate."""
    handles = [
        attention.out_proj.register_forward_pre_hook(_gate(gates[block]))  # type: ignore[union-attr]
        for block, attention in attentions(model).items()
    ]
    with hooked(handles):
        yield


def _gate(gate: Tensor) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    def multiply(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (outputs,) = inputs
        by_head = outputs.view(*outputs.shape[:-1], gate.shape[1], -1) * gate[:, None, :, None]
        return (by_head.flatten(-2),)

    return multiply


def _heads(attention: nn.Module) -> int:
    heads: Any = attention.num_heads
    return int(heads)


def _part(parameter: nn.Parameter, indices: Tensor, dimension: int) -> nn.Parameter:
    part = parameter.detach().index_select(dimension, indices.to(parameter.device))
    return nn.Parameter(part, requires_grad=parameter.requires_grad)
