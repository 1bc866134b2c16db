"""The training loop: distillation-aware quantization (section 2.2 of the paper).

Each step runs the teacher and the quantized student on the same batches, and moves the student's full-precision weights by
straight-through gradients. All randomness comes from the seed and the place in the data, so that a run resumed from its last
state ends with the same weights as one that was never interrupted (on one device type, with the same settings).

Several processes share a step by its `accumulate` batches: every loss is a mean over one whole batch, and a step is the mean
over its batches, so that the average of the processes' means is the mean of one process, whatever the batches' lengths. What
differs is the order of the sums.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compress.data.batches import Batch, collate
from compress.data.encoded import Encoded
from compress.errors import CompressError
from compress.training.bad_batch import SeenBatch, save_bad_batches
from compress.training.clock import Clock
from compress.training.group import Alone, Group
from compress.training.loss_means import LossMeans
from compress.training.losses import LayerMap, LossWeights, joint_losses, outputs_of
from compress.training.on_policy import NO_OWN_OUTPUTS, OnPolicy, OnPolicySettings, Write
from compress.training.order import Order, Place
from compress.training.pace import Pace, Schedule, TimeLimit
from compress.training.precision import Bf16
from compress.training.state import TrainingState

Noise = Callable[[Encoded, random.Random], Encoded]

OWN = "on-policy "


@dataclass(frozen=True)
class TrainingSettings:
    """What decides the weights that come out; a resumed run must have the same."""

    epochs: float
    max_steps: int | None
    learning_rate: float
    schedule: Schedule
    warmup: float
    weight_decay: float
    batch_tokens: int
    accumulate: int
    clip_norm: float
    bf16: Bf16
    seed: int
    validate_every: int | None
    losses: LossWeights
    limit: TimeLimit | None = None
    """Ends the run in place of `epochs` and `max_steps`."""
    on_policy: OnPolicySettings = NO_OWN_OUTPUTS


@dataclass(frozen=True)
class StepReport:
    """What the progress display shows: means since the last report."""

    step: int
    steps: int
    losses: dict[str, float]
    """By name; `OWN` before those of batches whose targets the student wrote."""
    learning_rate: float
    tokens: int
    """Source and target tokens seen since the last report by all processes, without padding."""
    seconds: float
    """Spent in the steps since the last report, and in nothing else."""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


class NonFiniteLossError(CompressError):
    """The loss became NaN or infinite; the last saved state is from before."""


class Trainer:
    """Runs a student through its training steps; saves, validates and reports through the given callables.

    Of a group, each process has a trainer of its own, made of the same arguments.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel | None,
        layers: LayerMap,
        examples: Sequence[Encoded],
        settings: TrainingSettings,
        noise: Noise | None = None,
        group: Group | None = None,
        bad_batches: Path | None = None,
        clock: Clock | None = None,
        write: Write | None = None,
    ) -> None:
        """`teacher` may be None where no loss needs one; `noise` corrupts an example anew in every epoch.

        `group` is who shares the steps, by default nobody; its size divides `accumulate`. `bad_batches` is a folder for the
        batches of a step that is not finite. `clock` times the steps. `write` has the student write, where some batches are
        to have its outputs for targets.
        """
        self.student = student
        self.teacher = teacher
        self.layers = layers
        self.examples = examples
        self.settings = settings
        self.noise = noise
        self.bf16 = settings.bf16 is True
        """Of `auto`, what was found out, to be set before training; float32 until then."""
        self.group: Group = group or Alone()
        self._bad_batches = bad_batches
        self._clock = clock or Clock()
        self._order = Order(examples, settings.batch_tokens, settings.seed)
        self._on_policy: OnPolicy | None = None
        if settings.on_policy.share and write is not None:
            own = settings.on_policy
            self._on_policy = OnPolicy(own, examples, settings.batch_tokens, settings.seed, write, self.group)
        self.steps_per_epoch = max(1, len(self._order) // settings.accumulate)
        steps = settings.max_steps if settings.max_steps is not None else round(settings.epochs * self.steps_per_epoch)
        decayed = [parameter for parameter in student.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in student.parameters() if parameter.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
        self.pace = Pace(self.optimizer, settings.schedule, settings.warmup, steps, settings.limit, self.group)

    @property
    def step(self) -> int:
        """Steps done."""
        return self.pace.step

    @property
    def steps(self) -> int:
        """Those of the whole run, an estimate where its time is limited."""
        return self.pace.steps

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
        """Train to the last step. Returns False when Ctrl-C (or SIGTERM) stopped it early; the state is saved by then.

        The state is also saved after each validation, so that it knows the best of them. Of a group, only rank 0 calls
        `validate`, `save` and `report`.
        """
        self.student.train()
        means = LossMeans(self._loss_names, self.group, self.student.device)
        leads = self.group.rank == 0
        with self.group.interruptible() as interrupted:
            while not self.pace.finished:
                with self._clock.running():
                    for seen in self._train_step():
                        means.add(seen.losses, seen.batch.tokens)
                if self.step % report_every == 0 or self.pace.finished:
                    with self._clock.running():  # of a GPU, what is still under way
                        losses, tokens = means.take()
                    if leads:
                        report(StepReport(self.step, self.steps, losses, self.pace.rate, tokens, self._clock.take()))
                validates = self.step % self.validate_every == 0 or self.pace.finished
                if validates and leads:
                    validate(self.step)
                    self.student.train()
                stops = interrupted()
                if leads and (stops or validates or self.step % save_every == 0):
                    save()
                if stops:
                    return self.pace.finished
        return True

    def try_step(self, bf16: bool) -> None:
        """The forward and backward pass of the epoch's first batch, for the time they take: nothing of it stays."""
        self.student.train()
        batch = self._batch(self._order.ahead(1)[0])[0]
        torch.autograd.backward(self._losses(batch.to(self.student.device), bf16, self.settings.losses)["total"])
        if self.student.device.type == "cuda":
            torch.cuda.synchronize(self.student.device)
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> TrainingState:
        """Everything that a resumed run needs."""
        order, pace = self._order, self.pace
        return TrainingState.capture(
            self.student,
            self.optimizer,
            pace.scheduler,
            self.step,
            order.epoch,
            order.position,
            pace.seconds,
            self._on_policy.state() if self._on_policy else {},
        )

    def resume(self, state: TrainingState) -> None:
        """Continue from a saved state."""
        state.restore(self.student, self.optimizer, self.pace.scheduler)
        self.pace.resume(state.step, state.seconds)
        self._order.go_to(state.epoch, state.position)
        if self._on_policy:
            self._on_policy.resume(state.outputs)

    def _train_step(self) -> list[SeenBatch]:
        """One optimizer step over this process's share of `accumulate` batches."""
        with self.pace.running():
            if self._on_policy:
                self._on_policy.look_ahead(self.step, self._order, self.settings.accumulate)
            seen = self._step()
        self.pace.advance()
        return seen

    def _step(self) -> list[SeenBatch]:
        seen: list[SeenBatch] = []
        for number in range(self.settings.accumulate):
            place = self._order.take()
            if number % self.group.size != self.group.rank:
                continue
            # A seed a batch: dropout is the same in whichever process, and after whatever came before.
            torch.manual_seed(random.Random(f"dropout/{self.settings.seed}/{place.epoch}/{place.position}").getrandbits(63))
            batch, own = self._batch(place)
            weights = self.settings.losses.on_own_outputs if own else self.settings.losses
            losses = self._losses(batch.to(self.student.device), self.bf16, weights)
            torch.autograd.backward(losses["total"] * (self.group.size / self.settings.accumulate))
            detached = {name: loss.detach() for name, loss in losses.items()}
            if own:  # the cross-entropy with itself says nothing
                detached = {f"{OWN}{name}": loss for name, loss in detached.items() if name != "task"}
            seen.append(SeenBatch(number, place.epoch, place.indices, batch, detached))
        self.group.average([parameter.grad for parameter in self.student.parameters() if parameter.grad is not None])
        norm = torch.nn.utils.clip_grad_norm_(self.student.parameters(), self.settings.clip_norm)
        if not bool(norm.isfinite()):
            raise self._not_finite(seen)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return seen

    def _not_finite(self, seen: list[SeenBatch]) -> NonFiniteLossError:
        """Keep the step's batches whose loss is not finite; all of them where only the gradient is not."""
        bad = [each for each in seen if not each.is_finite]
        share = torch.tensor([float(bool(bad))], device=self.student.device)
        self.group.average([share])
        kept = ""
        if self._bad_batches is not None:
            save_bad_batches(self._bad_batches, self.step + 1, bad if share > 0 else seen)
            kept = f"; its batches are kept in {self._bad_batches}"
        losses = "; ".join(str({name: float(loss) for name, loss in each.losses.items()}) for each in bad or seen)
        return NonFiniteLossError(f"step {self.step + 1}: the gradient is not finite; losses are {losses}{kept}")

    @property
    def _loss_names(self) -> list[str]:
        names = self.settings.losses.names
        return [*names, *(f"{OWN}{name}" for name in names if name != "task")]

    def _losses(self, batch: Batch, bf16: bool, weights: LossWeights) -> dict[str, Tensor]:
        teacher = None
        if weights.needs_teacher and self.teacher is not None:
            with torch.inference_mode():
                teacher = outputs_of(self.teacher, batch, weights, bf16)
        student = outputs_of(self.student, batch, weights, bf16)
        return joint_losses(student, teacher, batch, weights, self.layers)

    def _batch(self, place: Place) -> tuple[Batch, bool]:
        """The batch, and whether the student wrote its targets."""
        own = self._on_policy.examples(place) if self._on_policy else None
        examples = own or [self._example(place.epoch, index) for index in place.indices]
        return collate(examples, self.student.config.pad_token_id), own is not None

    def _example(self, epoch: int, index: int) -> Encoded:
        if self.noise is None:
            return self.examples[index]
        # A generator an example: a resumed run meets the same noise without replaying what came before.
        return self.noise(self.examples[index], random.Random(f"{self.settings.seed}/{epoch}/{index}"))
