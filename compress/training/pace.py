"""How far a run has come, and the learning rate there: by optimizer steps, or by the time that the steps took.

A run that is to be compared with others at equal time stops by time, and its learning rate decays over just that time: a
schedule over steps would be cut off in the middle, or long at its end. How many steps it makes then depends on the machine,
and so do its weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch.optim import Optimizer
from transformers import get_scheduler

from compress.training.clock import Clock
from compress.training.group import Group

Schedule = Literal["linear", "cosine"]
TimeOf = Literal["wall", "cpu"]
"""What counts as time: that of the day, or the processor's, which other work on the machine does not lengthen."""

_PARTS = 100_000
"""Of the whole time, as many as a schedule by time distinguishes."""


@dataclass(frozen=True)
class TimeLimit:
    """How long the steps of a run may take in all; validations and saving do not count."""

    minutes: float
    of: TimeOf = "wall"

    def clock(self) -> Clock:
        """Counts what is limited: seconds, of the processor's by the threads that share the work."""
        if self.of == "wall":
            return Clock()
        return Clock(lambda: time.process_time() / torch.get_num_threads())


class Pace:
    """Counts steps and time, and moves the learning rate."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule,
        warmup: float,
        steps: int,
        limit: TimeLimit | None,
        group: Group,
        clock: Callable[[TimeLimit], Clock] = TimeLimit.clock,
    ) -> None:
        """`warmup` is the share of the run in which the rate rises. `steps` count where there is no `limit`."""
        self.step = 0
        self.limit = limit
        self._planned = steps
        self._group = group
        self._clock = None if limit is None else clock(limit)
        self.seconds = 0.0
        """Of all steps, as the whole group has them; 0 where time is not limited."""
        parts = max(1, steps) if limit is None else _PARTS
        self.scheduler = get_scheduler(schedule, optimizer, round(warmup * parts), parts)

    @property
    def finished(self) -> bool:
        return self.step >= self._planned if self.limit is None else self.seconds >= 60 * self.limit.minutes

    @property
    def steps(self) -> int:
        """Those of the whole run; where time is limited as estimated from the steps so far, and 0 before the first."""
        if self.limit is None:
            return self._planned
        if self.finished or not self.seconds:
            return self.step
        return max(self.step + 1, round(self.step * 60 * self.limit.minutes / self.seconds))

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.scheduler.get_last_lr()[0])

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around the work of a step, and what else counts."""
        if self._clock is None:
            yield
            return
        with self._clock.running():
            yield

    def advance(self) -> None:
        """A step is done. Every process of the group calls it."""
        self.step += 1
        if self._clock is None or self.limit is None:
            self.scheduler.step()
            return
        clock = self._clock
        self.seconds = self._group.from_first(lambda: self.seconds + clock.take())
        # The next part to be done, as `step` counts one on.
        self.scheduler.last_epoch = round(_PARTS * min(1.0, self.seconds / (60 * self.limit.minutes))) - 1
        self.scheduler.step()

    def resume(self, step: int, seconds: float) -> None:
        """Go on from there; the schedule has its own state."""
        self.step, self.seconds = step, seconds
