"""`--bf16 auto`: bf16 autocast or float32, whichever a step is faster in.

A GPU is faster at bf16, and a CPU without instructions for it is not. Of the others nobody knows before it was tried: with
AMX bf16 is several times faster, with AVX-512 BF16 alone it was slower. What was chosen is kept with the training state, so
that a resumed run goes on as it began.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, Protocol

import torch

Bf16 = bool | Literal["auto"]

_WORTH = 1.1
"""Float32 is the more exact of the two: bf16 has to be so many times faster."""
_ROUNDS = 2


class TriesSteps(Protocol):
    """A trainer, as far as it is measured."""

    def try_step(self, bf16: bool) -> None:
        """The work of a step, of which nothing stays."""


def bf16_by_device(bf16: Bf16, device: torch.device) -> bool | None:
    """What was asked for; of `auto`, what the device says without being tried, and None where it does not."""
    if bf16 != "auto":
        return bf16
    if device.type == "cuda":
        return True
    return None if torch.cpu._is_avx512_bf16_supported() else False


def faster_at_bf16(trainer: TriesSteps, tell: Callable[[str], None], now: Callable[[], float] = time.process_time) -> bool:
    """Try steps in turns and tell how long the faster of each kind took. `now` gives seconds: of the processor's time, which
    other work on the machine does not lengthen as it does the time of day.
    """
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(_ROUNDS):
        for bf16, taken in seconds.items():
            started = now()
            trainer.try_step(bf16)
            taken.append(now() - started)
    plain, narrow = min(seconds[False]), min(seconds[True])
    chosen = plain >= _WORTH * narrow
    name = "bf16" if chosen else "float32"
    tell(f"bf16 auto: a step takes {plain:.2f} CPU seconds in float32 and {narrow:.2f} in bf16: {name}")
    return chosen
