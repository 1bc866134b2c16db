"""Tuning: the codes of a student stay, and what is cheap to train beside them is trained for a few steps.

That is the scale of each row of the matrices that are not positions, normalizations, and biases, by KL(teacher || student)
on the next token's probabilities. After "EfficientQAT" (Chen et al. 2024, arXiv 2407.11062), which trains the step sizes end
to end once the blocks are calibrated; here that needs no labels either. The loop is that of training; as it takes a minute
or two, it is not resumed but done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from rich.console import Console
from torch import Tensor
from transformers import PreTrainedModel

from compress.data.encoded import Encoded
from compress.model.held_codes import HeldCodes
from compress.model.quantized_modules import QuantizedPositions, QuantizedWeight, quantized_weights, set_codes
from compress.model.straight_through import SMALLEST_SCALE
from compress.training.group import Group
from compress.training.loop import Trainer, TrainingSettings
from compress.training.losses import LayerMap, LossWeights
from compress.training.precision import Bf16, bf16_by_device, faster_at_bf16
from compress.training.progress import TrainingProgress
from quant.numerics import Quantized, quantize_with_scale

LEARNING_RATE = 5e-3
WARMUP = 0.1
CLIP_NORM = 1.0


@dataclass(frozen=True)
class TuningSettings:
    """What decides the result, with the examples."""

    steps: int
    batch_tokens: int = 1024
    """Padded source or target tokens in a batch, whichever are more."""
    bf16: Bf16 = "auto"
    seed: int = 0

    @property
    def training(self) -> TrainingSettings:
        """As the loop takes them."""
        return TrainingSettings(
            epochs=1.0,
            max_steps=self.steps,
            learning_rate=LEARNING_RATE,
            schedule="cosine",
            warmup=WARMUP,
            weight_decay=0.0,
            batch_tokens=self.batch_tokens,
            accumulate=1,
            clip_norm=CLIP_NORM,
            bf16=self.bf16,
            seed=self.seed,
            validate_every=None,
            losses=LossWeights(task=0.0, logits=0.0, attention=0.0, hidden=0.0, kl=1.0),
        )


def tune(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    examples: Sequence[Encoded],
    settings: TuningSettings,
    console: Console,
    group: Group,
) -> None:
    """Tune a student with quantized modules in place; afterwards its scales are learned ones, of the same codes.

    `examples` are texts with the teacher's outputs, or with targets. Of a group, rank 0 tunes for all. Raises
    NonFiniteLossError, and KeyboardInterrupt where Ctrl-C (or SIGTERM) ends it.
    """
    training = student.training
    held = _hold(student)
    with _trained_alone(student) as trained:
        found = group.from_first(lambda: _tuned(student, teacher, examples, settings, console, trained))
        with torch.no_grad():
            for parameter, value in zip(trained, found, strict=True):
                parameter.copy_(value)
    _release(student, held)
    student.train(training)


def _tuned(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    examples: Sequence[Encoded],
    settings: TuningSettings,
    console: Console,
    trained: Sequence[Tensor],
) -> list[Tensor]:
    """The trained parameters, on the CPU."""
    trainer = Trainer(student, teacher, LayerMap([], []), examples, settings.training)
    known = bf16_by_device(settings.bf16, student.device)
    trainer.bf16 = faster_at_bf16(trainer, console.print) if known is None else known
    with TrainingProgress(trainer.steps, 0, console, what="tuning scales") as progress:
        if not trainer.train(lambda _: None, lambda: None, progress.report):
            raise KeyboardInterrupt
    return [parameter.detach().cpu() for parameter in trained]


@contextmanager
def _trained_alone(student: PreTrainedModel) -> Iterator[list[torch.nn.Parameter]]:
    """Vectors, and what holds codes, have gradients, and nothing else; yields them."""
    before = {parameter: parameter.requires_grad for parameter in student.parameters()}
    grown = {module.growth for module in student.modules() if isinstance(module, HeldCodes)}
    replaced = {module.clip_values for module in quantized_weights(student).values()}
    trained = [each for each in before if each in grown or (each.ndim == 1 and each not in replaced)]
    try:
        student.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        yield trained
    finally:
        for parameter, required in before.items():
            parameter.requires_grad_(required)


def _hold(student: PreTrainedModel) -> dict[str, HeldCodes]:
    """Have the modules hold their codes, those of one weight the same; returns them by the first name of each weight."""
    held: dict[str, HeldCodes] = {}
    of_weight: dict[Tensor, HeldCodes] = {}
    for name, module in quantized_weights(student).items():
        if isinstance(module, QuantizedPositions):
            continue
        if module.weight not in of_weight:
            of_weight[module.weight] = held[name] = HeldCodes(_learnable(module))
        module.held = of_weight[module.weight]
    return held


def _learnable(module: QuantizedWeight) -> Quantized:
    """Codes and scale as they are, but for rows whose scale is too small for a learned one."""
    quantized = module.quantize()
    small = quantized.scale < SMALLEST_SCALE
    if not bool(small.any()):
        return quantized
    larger = quantize_with_scale(module.weight.detach(), quantized.scale.clamp(min=SMALLEST_SCALE), module.bits)
    return Quantized(torch.where(small, larger.codes, quantized.codes), larger.scale)


def _release(student: PreTrainedModel, held: dict[str, HeldCodes]) -> None:
    """Give the modules their weights back, of the codes that they held and the scales that these have now."""
    modules = quantized_weights(student)
    for module in modules.values():
        module.held = None
    for name, each in held.items():
        now = each.quantized()
        set_codes(student, name, now.codes, now.scale, modules[name].weight.detach() * (now.scale / each.base))
