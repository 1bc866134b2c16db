"""On-policy distillation (GKD; Agarwal et al., ICLR 2024, arXiv 2306.13649): batches whose targets the student wrote.

    every N steps: sources of the batches to come ─► the student as it is, packed ─► its outputs, drawn at temperature 1
    then: teacher and student on those outputs ─► their divergence, token by token

A student that only ever reads others' texts learns nothing of what follows its own mistakes. Its outputs serve as decoder
inputs, and for them the teacher says what should come next; no label is needed, and none is used.

As in DistiLLM (Ko et al., ICML 2024, arXiv 2402.03898), outputs are up to N steps old: packing and opening the student costs
about as much as a step. Which batches are the student's own, and the draws, are decided by seed and place alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from compress.data.encoded import Encoded
from compress.training.group import Group
from compress.training.order import Order, Place


@dataclass(frozen=True)
class OnPolicySettings:
    """How much, and how fresh."""

    share: float = 0.0
    """Of all batches."""
    every: int = 25
    """Steps after which outputs are made anew."""


NO_OWN_OUTPUTS = OnPolicySettings()


class Ask(NamedTuple):
    """An output that is to be written."""

    example: Encoded
    """Its source is what is asked for; its decoder inputs and labels say what an output begins with."""
    most_tokens: int
    seed: int


Write = Callable[[Sequence[Ask]], list[list[int]]]
"""Has the student, as it is, write: the ids of each output, without the decoder's start, with an end token if it ended."""


class OnPolicy:
    """Chooses batches and keeps the outputs for them; of a group, all processes have the same."""

    def __init__(
        self,
        settings: OnPolicySettings,
        examples: Sequence[Encoded],
        batch_tokens: int,
        seed: int,
        write: Write,
        group: Group,
    ) -> None:
        """`write` is called on rank 0 alone."""
        self._settings = settings
        self._share = Fraction(settings.share).limit_denominator(10_000)
        self._examples = examples
        self._batch_tokens = batch_tokens
        self._seed = seed
        self._write = write
        self._group = group
        self._outputs: dict[tuple[int, int], list[list[int]]] = {}
        """By epoch and position of the batch."""

    def look_ahead(self, step: int, order: Order, accumulate: int) -> None:
        """Before each step: where it is time, have outputs written for the batches of the next ones."""
        if step % self._settings.every:
            return
        first = step * accumulate
        ahead = order.ahead(self._settings.every * accumulate)
        places = [place for number, place in enumerate(ahead, first) if self._is_own(number)]
        asks = [ask for place in places for ask in self._asks(place)]
        outputs = iter(self._group.from_first(lambda: self._write(asks) if asks else []))
        self._outputs = {(place.epoch, place.position): [next(outputs) for _ in place.indices] for place in places}

    def examples(self, place: Place) -> list[Encoded] | None:
        """The batch with the student's outputs for targets; None where it is one with labels."""
        outputs = self._outputs.get((place.epoch, place.position))
        if outputs is None:
            return None
        return [
            Encoded(example.source_ids, [example.decoder_ids[0], *output[:-1]], output, example.truncated)
            for example, output in zip((self._examples[index] for index in place.indices), outputs, strict=True)
        ]

    def state(self) -> dict[str, Tensor]:
        """The outputs that are still to be used, for a run that continues between two looks ahead."""
        if not self._outputs:
            return {}
        flat = [output for outputs in self._outputs.values() for output in outputs]
        places = [(*place, len(outputs)) for place, outputs in self._outputs.items()]
        return {
            "places": torch.tensor(places),
            "lengths": torch.tensor([len(output) for output in flat]),
            "ids": torch.tensor([token for output in flat for token in output], dtype=torch.int32),
        }

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Take the outputs of `state`."""
        self._outputs = {}
        if not state:
            return
        outputs = iter(torch.split(state["ids"], state["lengths"].tolist()))
        for epoch, position, count in state["places"].tolist():
            self._outputs[epoch, position] = [next(outputs).tolist() for _ in range(count)]

    def _is_own(self, number: int) -> bool:
        """Of the run's batches, counted from 0: as evenly spread as the share allows."""
        return int((number + 1) * self._share) > int(number * self._share)

    def _asks(self, place: Place) -> list[Ask]:
        # A student that is still at its beginning writes without end: a batch stays as large as one with labels.
        most = max(self._batch_tokens // len(place.indices), 1)
        asks = []
        for index in place.indices:
            draws = random.Random(f"on-policy/{self._seed}/{place.epoch}/{index}").getrandbits(31)
            asks.append(Ask(self._examples[index], most, draws))
        return asks
