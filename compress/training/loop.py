"""The training loop: distillation-aware quantization (section 2.2 of the paper).

Each step runs the teacher and the quantized student on the same batches, and moves the student's full-precision weights by
straight-through gradients. All randomness comes from the seed and the step, so that a run resumed from its last state ends
with the same weights as one that was never interrupted (on one device type, with the same settings).
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, get_scheduler

from compress.data.batches import Batch, collate, epoch_batches
from compress.data.text_format import Encoded
from compress.errors import CompressError
from compress.training.losses import LayerMap, LossWeights, joint_losses
from compress.training.state import TrainingState

Noise = Callable[[Encoded, random.Random], Encoded]


@dataclass(frozen=True)
class TrainingSettings:
    """What decides the weights that come out; a resumed run must have the same."""

    epochs: float
    max_steps: int | None
    learning_rate: float
    schedule: Literal["linear", "cosine"]
    warmup: float
    weight_decay: float
    batch_tokens: int
    accumulate: int
    clip_norm: float
    bf16: bool
    seed: int
    validate_every: int | None
    losses: LossWeights


@dataclass(frozen=True)
class StepReport:
    """What the progress display shows: means since the last report."""

    step: int
    steps: int
    losses: dict[str, float]
    learning_rate: float
    tokens_per_second: float


class NonFiniteLossError(CompressError):
    """The loss became NaN or infinite; the last saved state is from before."""


class Trainer:
    """Runs a student through its training steps; saves, validates and reports through the given callables."""

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel | None,
        layers: LayerMap,
        examples: Sequence[Encoded],
        settings: TrainingSettings,
        noise: Noise | None = None,
    ) -> None:
        """`teacher` may be None where no loss needs one; `noise` corrupts an example anew in every epoch."""
        self.student = student
        self.teacher = teacher
        self.layers = layers
        self.examples = examples
        self.settings = settings
        self.noise = noise
        self._position = 0
        self._start_epoch(0)
        self.steps_per_epoch = max(1, len(self._order) // settings.accumulate)
        self.steps = settings.max_steps if settings.max_steps is not None else round(settings.epochs * self.steps_per_epoch)
        decayed = [parameter for parameter in student.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in student.parameters() if parameter.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
        warmup_steps = round(settings.warmup * self.steps)
        self.scheduler = get_scheduler(settings.schedule, self.optimizer, warmup_steps, max(1, self.steps))
        self.step = 0

    @property
    def validate_every(self) -> int:
        return self.settings.validate_every or self.steps_per_epoch

    def train(
        self,
        validate: Callable[[int], None],
        save: Callable[[], None],
        report: Callable[[StepReport], None],
        report_every: int = 20,
        save_every: int = 500,
    ) -> bool:
        """Train to the last step. Returns False when Ctrl-C (or SIGTERM) stopped it early; the state is saved by then."""
        self.student.train()
        sums: dict[str, Tensor] = {}
        tokens, counted, since = 0, 0, time.perf_counter()
        with _interruptible() as interrupted:
            while self.step < self.steps:
                losses, step_tokens = self._train_step()
                tokens, counted = tokens + step_tokens, counted + 1
                _add(sums, losses)
                if self.step % report_every == 0 or self.step == self.steps:
                    seconds = time.perf_counter() - since
                    means = _floats({name: total / counted for name, total in sums.items()})
                    rate = self.scheduler.get_last_lr()[0]
                    report(StepReport(self.step, self.steps, means, rate, tokens / seconds))
                    sums, tokens, counted, since = {}, 0, 0, time.perf_counter()
                if self.step % self.validate_every == 0 or self.step == self.steps:
                    validate(self.step)
                    self.student.train()
                    since = time.perf_counter()
                if interrupted():
                    save()
                    return self.step == self.steps
                if self.step % save_every == 0 or self.step == self.steps:
                    save()
        return True

    def state(self) -> TrainingState:
        """Everything that a resumed run needs."""
        return TrainingState.capture(self.student, self.optimizer, self.scheduler, self.step, self._epoch, self._position)

    def resume(self, state: TrainingState) -> None:
        """Continue from a saved state."""
        state.restore(self.student, self.optimizer, self.scheduler)
        self.step, self._position = state.step, state.position
        self._start_epoch(state.epoch)

    def _train_step(self) -> tuple[dict[str, Tensor], int]:
        """One optimizer step over `accumulate` batches: the mean of each loss, and the tokens seen."""
        sums: dict[str, Tensor] = {}
        tokens = 0
        for _ in range(self.settings.accumulate):
            batch = self._next_batch()
            tokens += batch.tokens
            losses = self._losses(batch.to(self.student.device))
            torch.autograd.backward(losses["total"] / self.settings.accumulate)
            _add(sums, {name: loss.detach() / self.settings.accumulate for name, loss in losses.items()})
        norm = torch.nn.utils.clip_grad_norm_(self.student.parameters(), self.settings.clip_norm)
        if not bool(norm.isfinite()):
            raise NonFiniteLossError(f"step {self.step + 1}: the gradient is not finite; losses are {_floats(sums)}")
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return sums, tokens

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        weights = self.settings.losses
        inputs: dict[str, Any] = {
            "input_ids": batch.source_ids,
            "attention_mask": batch.source_mask.long(),
            "decoder_input_ids": batch.decoder_ids,
            "use_cache": False,
            "output_attentions": bool(weights.attention),
            "output_hidden_states": bool(weights.hidden),
        }
        with torch.autocast(self.student.device.type, dtype=torch.bfloat16, enabled=self.settings.bf16):
            teacher = None
            if weights.needs_teacher and self.teacher is not None:
                with torch.no_grad():
                    teacher = self.teacher(**inputs)
            student = self.student(**inputs)
        return joint_losses(student, teacher, batch, weights, self.layers)

    def _start_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._order = epoch_batches(self.examples, self.settings.batch_tokens, self.settings.seed, epoch)

    def _next_batch(self) -> Batch:
        if self._position == len(self._order):
            self._start_epoch(self._epoch + 1)
            self._position = 0
        indices = self._order[self._position]
        self._position += 1
        return collate([self._example(index) for index in indices], self.student.config.pad_token_id)

    def _example(self, index: int) -> Encoded:
        if self.noise is None:
            return self.examples[index]
        # A generator an example: a resumed run meets the same noise without replaying what came before.
        return self.noise(self.examples[index], random.Random(f"{self.settings.seed}/{self._epoch}/{index}"))


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a flag that is looked at between steps; a second SIGINT stops at once."""
    received: list[int] = []

    def note(number: int, _: Any) -> None:
        if number in received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _add(sums: dict[str, Tensor], losses: dict[str, Tensor]) -> None:
    for name, loss in losses.items():
        sums[name] = sums[name] + loss if name in sums else loss


def _floats(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(loss) for name, loss in losses.items()}
