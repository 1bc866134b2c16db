"""A whole calibration: token matrices, then the encoder, then the decoder, in the order of the forward pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compress.calibration.embeddings import calibrate_embeddings
from compress.calibration.saved import Saved
from compress.calibration.stack_calibration import StackCalibration
from compress.calibration.streams import Stack
from compress.data.batches import Batch, collate, length_batches
from compress.data.encoded import Encoded, lengths_of
from compress.model.quantized_modules import QuantizedPositions, quantized_weights, share_scales

_BATCH_TOKENS = 2048
"""Padded tokens that go through a layer together; more is no quicker on a CPU."""


@dataclass(frozen=True)
class Mapped:
    """The teacher's layers that the student's were copied from, and of its pruned attentions the heads they keep."""

    encoder: Sequence[int]
    decoder: Sequence[int]
    kept_heads: Mapping[str, Sequence[int]] = field(default_factory=dict)


def parts_of(student: PreTrainedModel) -> int:
    """How many times `advance` of `calibrate` is called with 1."""
    return 1 + len(student.model.encoder.layers) + len(student.model.decoder.layers)


def calibrate(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    layers: Mapped,
    examples: Sequence[Encoded],
    saved: Saved,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Calibrate a student on examples whose targets the teacher wrote, in place, from its full-precision weights on.

    It is a stock BART or mBART, with quantized modules or (to heal what dropped layers leave) without. Parts that `saved`
    has are taken from there, and those that are done are put there. Deterministic. Returns the record, as JSON: how many
    examples and tokens, the seconds, and `lost`, the mean square of what the decoder's last states lack, as a share of the
    teacher's.
    """
    started, modes = time.monotonic(), (student.training, teacher.training)
    student.eval()
    teacher.eval()
    pad, device = student.config.pad_token_id, student.device
    lengths = lengths_of(examples)
    order = sorted(range(len(examples)), key=lambda index: tuple(lengths[index].tolist()))
    batches = [
        collate([examples[index] for index in indices], pad).to(device)
        for indices in length_batches(examples, order, _BATCH_TOKENS)
    ]
    with torch.no_grad():
        if quantized_weights(student):
            calibrate_embeddings(student, teacher, batches, saved)
        advance(1)
        memories: tuple[Sequence[Tensor | None], Sequence[Tensor | None]] = ([None] * len(batches), [None] * len(batches))
        for part, mapped in (("encoder", layers.encoder), ("decoder", layers.decoder)):
            stack = StackCalibration(
                Stack(teacher, part), Stack(student, part), mapped, batches, layers.kept_heads, saved, advance
            )
            memories = stack.run(*memories)
        lost = _lost(*memories, batches)
    student.train(modes[0])
    teacher.train(modes[1])
    source, target = lengths.sum(0).tolist()
    seconds = round(time.monotonic() - started, 1)
    return {
        "examples": len(examples),
        "source_tokens": source,
        "target_tokens": target,
        "seconds": seconds,
        "lost": round(lost, 4),
    }


def expect_calibrated(student: PreTrainedModel) -> None:
    """Give the student's quantized modules the scales that a calibration would, for weights that are yet to be loaded."""
    for name, module in quantized_weights(student).items():
        if module.clip_values is None and not isinstance(module, QuantizedPositions):
            module.learn_scales()
            share_scales(student, name)


def _lost(theirs: Sequence[Any], ours: Sequence[Any], batches: Sequence[Batch]) -> float:
    missing = whole = 0.0
    for one, other, batch in zip(theirs, ours, batches, strict=True):
        missing += float((one - other)[batch.target_mask].double().square().sum())
        whole += float(one[batch.target_mask].double().square().sum())
    return missing / whole
