"""The batches of a step whose loss or gradient is not finite, kept so that the fault can be looked into.

OUTPUT/training/bad_batch/N.safetensors   the ids of the step's batch N, as the models were given them
OUTPUT/training/bad_batch/N.json          step, epoch, the examples' places in the training data, each loss
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from compress.data.batches import Batch
from quant.whole_files import save_tensors


@dataclass(frozen=True)
class SeenBatch:
    """A batch that the current step has been through."""

    number: int
    """Among the batches of the step, of whichever process."""
    epoch: int
    examples: Sequence[int]
    batch: Batch
    losses: dict[str, Tensor]

    @property
    def is_finite(self) -> bool:
        return all(bool(loss.isfinite()) for loss in self.losses.values())


def save_bad_batches(folder: Path, step: int, batches: Sequence[SeenBatch]) -> None:
    """Write two files a batch; those of an earlier fault that have other numbers stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for seen in batches:
        tensors = {name: getattr(seen.batch, name) for name in seen.batch.__dataclass_fields__}
        save_tensors(folder / f"{seen.number}.safetensors", tensors)
        # JSON has no word for what is not finite.
        losses = {
            name: value if loss.isfinite() else str(value) for name, loss in seen.losses.items() for value in [float(loss)]
        }
        record = {"step": step, "epoch": seen.epoch, "examples": list(seen.examples), "losses": losses}
        (folder / f"{seen.number}.json").write_text(json.dumps(record) + "\n")
