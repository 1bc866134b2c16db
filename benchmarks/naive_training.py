"""The training loop that `dqbart bench training` compares with: everything is computed, in float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compress.data.batches import Batch, collate, epoch_batches
from compress.data.encoded import Encoded
from compress.model.token_losses import terms_of, weighed
from compress.training.loop import TrainingSettings
from compress.training.losses import LayerMap, LossWeights, with_states


def train(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    layers: LayerMap,
    examples: Sequence[Encoded],
    settings: TrainingSettings,
    epochs: int,
    told: Callable[[float], Any],
) -> None:
    """Train for so many epochs, on the batches that the product's loop has, and tell the seconds of each."""
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    student.train()
    for epoch in range(epochs):
        started = time.perf_counter()
        for indices in epoch_batches(examples, settings.batch_tokens, settings.seed, epoch):
            batch = collate([examples[index] for index in indices], student.config.pad_token_id)
            inputs = {**batch.model_inputs, "output_attentions": True, "output_hidden_states": True}
            with torch.no_grad():
                taught = teacher(**inputs)
            total = whole_losses(student(**inputs), taught, batch, settings.losses, layers)["total"]
            optimizer.zero_grad()
            torch.autograd.backward(total)
            torch.nn.utils.clip_grad_norm_(student.parameters(), settings.clip_norm)
            optimizer.step()
        told(time.perf_counter() - started)


def whole_losses(student: Any, teacher: Any, batch: Batch, weights: LossWeights, layers: LayerMap) -> dict[str, Tensor]:
    """The losses of `joint_losses`, on whole logits as the models give them."""
    target = batch.target_mask
    labels = batch.labels[target]
    sums = terms_of(student.logits[target].float(), labels, teacher.logits[target].float(), weights.of_tokens)
    terms = {name: total / len(labels) for name, total in sums.items()}
    terms["total"] = weighed(terms, weights.of_tokens)
    return with_states(terms, student, teacher, batch, weights, layers)
