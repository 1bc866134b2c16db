"""The joint loss (section 2.2 of the paper): task, logits, attention and hidden states.

    L = w_task * cross-entropy + w_logits * MSE(logits)
      + w_attention * Σ MSE(attention probabilities: encoder self, decoder self, cross)
      + w_hidden * Σ MSE(hidden states: embeddings, each layer, the encoder's last state)

Student layer i is compared with the teacher layer that it was copied from. Every mean is over real tokens only: a padded
position, as query, key or state, never counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from compress.data.batches import Batch


@dataclass(frozen=True)
class LossWeights:
    """Weights of the four terms; the paper uses 1 for all, or 1 / 0.8 / 3 for task, logits and the rest."""

    task: float = 1.0
    logits: float = 1.0
    attention: float = 1.0
    hidden: float = 1.0

    @property
    def needs_teacher(self) -> bool:
        return bool(self.logits or self.attention or self.hidden)


@dataclass(frozen=True)
class LayerMap:
    """For each student layer, the teacher layer it is compared with."""

    encoder: Sequence[int]
    decoder: Sequence[int]


def joint_losses(
    student: Any, teacher: Any | None, batch: Batch, weights: LossWeights, layers: LayerMap
) -> dict[str, Tensor]:
    """The weighted `total` and each unweighted term, as scalars; terms of weight 0 are left out.

    `student` and `teacher` are outputs of `transformers` seq2seq models (with attentions and hidden states where weighed).
    """
    target = batch.target_mask
    logits = student.logits[target].float()
    losses = {"task": functional.cross_entropy(logits, batch.labels[target])}
    if teacher is not None and weights.logits:
        losses["logits"] = functional.mse_loss(logits, teacher.logits[target].float())
    if teacher is not None and weights.attention:
        losses["attention"] = _attention_loss(student, teacher, batch, layers)
    if teacher is not None and weights.hidden:
        losses["hidden"] = _hidden_loss(student, teacher, batch, layers)
    total = sum((getattr(weights, name) * loss for name, loss in losses.items()), logits.new_zeros(()))
    return {"total": total, **losses}


def _attention_loss(student: Any, teacher: Any, batch: Batch, layers: LayerMap) -> Tensor:
    source, target = batch.source_mask, batch.target_mask
    causal = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool, device=target.device).tril()
    pairs = (
        (student.encoder_attentions, teacher.encoder_attentions, layers.encoder, source[:, :, None] & source[:, None]),
        (student.decoder_attentions, teacher.decoder_attentions, layers.decoder, target[:, :, None] & causal),
        (student.cross_attentions, teacher.cross_attentions, layers.decoder, target[:, :, None] & source[:, None]),
    )
    total = torch.zeros((), device=source.device)
    for ours, theirs, mapped, mask in pairs:
        for index, layer in enumerate(mapped):
            total = total + masked_mse(ours[index], theirs[layer], mask[:, None])
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
