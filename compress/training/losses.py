"""The joint loss (section 2.2 of the paper): task, logits, attention and hidden states.

    L = w_task * cross-entropy + w_logits * MSE(logits) + w_kl * T² * KL(teacher || student at temperature T)
      + w_attention * Σ MSE(attention probabilities: encoder self, decoder self, cross)
      + w_hidden * Σ MSE(hidden states: embeddings, each layer, the encoder's last state)

The Kullback-Leibler term is of "Distilling the Knowledge in a Neural Network" (Hinton et al. 2015); the factor T² keeps its
gradients of one size whatever the temperature. DQ-BART has no such term: its weight is 0 unless asked for.

Student layer i is compared with the teacher layer that it was copied from. Every mean is over real tokens only: a padded
position, as query, key or state, never counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from compress.data.batches import Batch


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

    @property
    def needs_teacher(self) -> bool:
        return bool(self.logits or self.kl or self.attention or self.hidden)


@dataclass(frozen=True)
class LayerMap:
    """For each student layer, the teacher layer it is compared with."""

    encoder: Sequence[int]
    decoder: Sequence[int]
    kept_heads: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The teacher's heads that a pruned attention of the student still has, by its name as a block."""


def joint_losses(
    student: Any, teacher: Any | None, batch: Batch, weights: LossWeights, layers: LayerMap
) -> dict[str, Tensor]:
    """The weighted `total` and each unweighted term, as scalars; terms of weight 0 are left out.

    `student` and `teacher` are outputs of `transformers` seq2seq models (with attentions and hidden states where weighed).
    """
    target = batch.target_mask
    logits = student.logits[target].float()
    losses = {"task": functional.cross_entropy(logits, batch.labels[target])}
    if teacher is not None and (weights.logits or weights.kl):
        theirs = teacher.logits[target].float()
        if weights.logits:
            losses["logits"] = functional.mse_loss(logits, theirs)
        if weights.kl:
            losses["kl"] = _divergence(logits, theirs, weights.temperature)
    if teacher is not None and weights.attention:
        losses["attention"] = _attention_loss(student, teacher, batch, layers)
    if teacher is not None and weights.hidden:
        losses["hidden"] = _hidden_loss(student, teacher, batch, layers)
    total = sum((getattr(weights, name) * loss for name, loss in losses.items()), logits.new_zeros(()))
    return {"total": total, **losses}


def _divergence(logits: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    """T² * KL(teacher || student) of logits [tokens, vocabulary], a mean over tokens."""
    ours = functional.log_softmax(logits / temperature, dim=-1)
    target = functional.log_softmax(theirs / temperature, dim=-1)
    return functional.kl_div(ours, target, reduction="batchmean", log_target=True) * temperature**2


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
