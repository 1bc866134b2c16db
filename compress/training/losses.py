"""The joint loss (section 2.2 of the paper): task, logits, attention and hidden states.

    L = w_task * cross-entropy + w_logits * MSE(logits) + w_kl * T² * KL(teacher || student at temperature T)
      + w_attention * Σ MSE(attention probabilities: encoder self, decoder self, cross)
      + w_hidden * Σ MSE(hidden states: embeddings, each layer, the encoder's last state)

The Kullback-Leibler term is of "Distilling the Knowledge in a Neural Network" (Hinton et al. 2015), or another divergence in
its place (`compress.model.token_losses.Divergence`); the factor T² keeps its gradients of one size whatever the temperature.
DQ-BART has no such term: there its weight is 0.

The first three are computed in chunks over tokens (`compress.model.token_losses`), for which whole logits are never made.

Student layer i is compared with the teacher layer that it was copied from. Every mean is over real tokens only: a padded
position, as query, key or state, never counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compress.data.batches import Batch
from compress.model.token_losses import Divergence, Head, TokenWeights, head_of, token_losses


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; the paper uses 1 for all but `kl`, or 1 / 0.8 / 3 for task, logits and the rest."""

    task: float = 1.0
    logits: float = 1.0
    attention: float = 1.0
    hidden: float = 1.0
    kl: float = 0.0
    temperature: float = 1.0
    """Of the softmax of both in the term `kl`."""
    divergence: Divergence = "forward-kl"
    """What the term `kl` is."""

    @property
    def needs_teacher(self) -> bool:
        return bool(self.logits or self.kl or self.attention or self.hidden)

    @property
    def names(self) -> list[str]:
        """Those that `joint_losses` gives, where there is a teacher if one is needed."""
        weighed = [name for name in ("logits", "kl", "attention", "hidden") if getattr(self, name)]
        return ["total", "task", *weighed]

    @property
    def on_own_outputs(self) -> LossWeights:
        """Those of a batch whose targets the student wrote: they are no labels."""
        return replace(self, task=0.0)

    @property
    def of_tokens(self) -> TokenWeights:
        """Those of the terms on logits."""
        return TokenWeights(self.task, self.logits, self.kl, self.temperature, self.divergence)


@dataclass(frozen=True)
class LayerMap:
    """For each student layer, the teacher layer it is compared with."""

    encoder: Sequence[int]
    decoder: Sequence[int]
    kept_heads: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The teacher's heads that a pruned attention of the student still has, by its name as a block."""


@dataclass(frozen=True)
class Outputs:
    """What a seq2seq model of `transformers` made of a batch, up to its head."""

    states: Any
    """Of the model without its head: the decoder's last states, and attentions and hidden states where they are weighed."""
    head: Head
    """Of real target tokens only."""


def outputs_of(model: PreTrainedModel, batch: Batch, weights: LossWeights, bf16: bool) -> Outputs:
    """Run a BART or mBART, by bf16 autocast if asked for."""
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bf16):
        states = model.model(
            **batch.model_inputs,
            output_attentions=bool(weights.attention),
            output_hidden_states=bool(weights.hidden),
        )
    return Outputs(states, head_of(model, states.last_hidden_state[batch.target_mask], bf16))


def joint_losses(
    student: Outputs, teacher: Outputs | None, batch: Batch, weights: LossWeights, layers: LayerMap
) -> dict[str, Tensor]:
    """The weighted `total` and each unweighted term, as scalars; terms of weight 0 are left out."""
    labels, theirs = batch.labels[batch.target_mask], None if teacher is None else teacher.head
    losses = token_losses(student.head, labels, theirs, weights.of_tokens)
    return with_states(losses, student.states, None if teacher is None else teacher.states, batch, weights, layers)


def with_states(
    losses: Mapping[str, Tensor], student: Any, teacher: Any | None, batch: Batch, weights: LossWeights, layers: LayerMap
) -> dict[str, Tensor]:
    """Losses on logits and, where they are weighed, those on attention and hidden states, also in the `total`."""
    more: dict[str, Tensor] = {}
    if teacher is not None and weights.attention:
        more["attention"] = _attention_loss(student, teacher, batch, layers)
    if teacher is not None and weights.hidden:
        more["hidden"] = _hidden_loss(student, teacher, batch, layers)
    total = sum((getattr(weights, name) * loss for name, loss in more.items()), losses["total"])
    return {**losses, **more, "total": total}


def _attention_loss(student: Any, teacher: Any, batch: Batch, layers: LayerMap) -> Tensor:
    source, target = batch.source_mask, batch.target_mask
    causal = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool, device=target.device).tril()
    encoder, decoder = layers.encoder, layers.decoder
    kinds = {
        "encoder.layers.{}.self_attn": ("encoder_attentions", encoder, source[:, :, None] & source[:, None]),
        "decoder.layers.{}.self_attn": ("decoder_attentions", decoder, target[:, :, None] & causal),
        "decoder.layers.{}.encoder_attn": ("cross_attentions", decoder, target[:, :, None] & source[:, None]),
    }
    total = torch.zeros((), device=source.device)
    for block, (maps, mapped, mask) in kinds.items():
        for index, layer in enumerate(mapped):
            ours, theirs = getattr(student, maps)[index], getattr(teacher, maps)[layer]
            kept = layers.kept_heads.get(block.format(index))
            total = total + masked_mse(ours, theirs if kept is None else theirs[:, kept], mask[:, None])
    return total


def _hidden_loss(student: Any, teacher: Any, batch: Batch, layers: LayerMap) -> Tensor:
    source, target = batch.source_mask[..., None], batch.target_mask[..., None]
    pairs = (
        (student.encoder_hidden_states, teacher.encoder_hidden_states, layers.encoder, source),
        (student.decoder_hidden_states, teacher.decoder_hidden_states, layers.decoder, target),
    )
    total = masked_mse(student.encoder_last_hidden_state, teacher.encoder_last_hidden_state, source)
    for ours, theirs, mapped, mask in pairs:
        # Entry 0 holds the embeddings, entry i + 1 the output of layer i.
        for index, other in enumerate([0, *(layer + 1 for layer in mapped)]):
            total = total + masked_mse(ours[index], theirs[other], mask)
    return total


def masked_mse(ours: Tensor, theirs: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference over the entries where the boolean `mask`, broadcast to their shape, is true."""
    kept = mask.expand_as(ours)
    squares = (ours.float() - theirs.float()).square().masked_fill(~kept, 0.0)
    return squares.sum() / kept.sum().clamp(min=1)
