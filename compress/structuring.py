"""What the student is made of, found out before it is trained: heads removed, bits spread over its blocks.

    full-precision student ─► score heads, remove ─► measure blocks, spend a budget ─► quantized modules, training

Both measure on the same batches, the first of the training order. What was found is kept in the training state, so that a
resumed run does not measure again, and in OUTPUT for people to read:

OUTPUT/heads.json         score of each head, and which were kept
OUTPUT/sensitivity.json   loss that each block adds at fewer bits, and the bits it got
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import PreTrainedModel

from compress.calibration.compensation import compensated
from compress.data.batches import Batch, collate, epoch_batches
from compress.data.encoded import Encoded
from compress.model.bit_budget import spend
from compress.model.heads import heads_to_keep, keep_heads, live_heads, score_heads
from compress.model.sensitivity import FEWER_BITS, AtBits, Objective, Sensitivity, losses_measured, measure_sensitivity
from compress.training.group import Group
from compress.training.loop import TrainingSettings
from compress.training.losses import LayerMap, LossWeights, joint_losses, outputs_of
from compress.training.precision import bf16_by_device
from compress.training.progress import advancing
from quant.file_size import file_bytes
from quant.layout import Architecture, blocks
from quant.numerics import CLIP, Ternary
from quant.scheme import Scheme
from quant.structure import Structure
from quant.whole_files import whole_files

HEADS_FILE = "heads.json"
SENSITIVITY_FILE = "sensitivity.json"

Heads = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class StructureGoals:
    """What the user asked for; the default asks for nothing."""

    prune_heads: float = 0.0
    """Share of all heads to remove."""
    target_ratio: float | None = None
    """How many times smaller than the teacher in float32 the weights file is to be; None leaves bits to the scheme."""
    measure_batches: int = 16


NO_GOALS = StructureGoals()


@dataclass(frozen=True)
class Found:
    """What was decided: the teacher's heads that each pruned attention keeps, and bits of blocks, both by block."""

    kept_heads: Heads
    block_bits: Mapping[str, int]

    @property
    def structure(self) -> Structure:
        return Structure(dict(self.block_bits), _counts(self.kept_heads))

    def to_dict(self) -> dict[str, Any]:
        kept = {block: list(indices) for block, indices in self.kept_heads.items()}
        return {"kept_heads": kept, "block_bits": dict(self.block_bits)}


@dataclass(frozen=True)
class StructureSearch:
    """How to find it: goals, and what is measured with."""

    goals: StructureGoals
    scheme: Scheme
    teacher_bytes: int
    examples: Sequence[Encoded]
    training: TrainingSettings
    output: Path
    console: Console
    clip: float = CLIP
    ternary: Ternary = "twn"
    compensates: bool = False
    """Whether the student is calibrated afterwards: then what counts is the loss that error compensation leaves."""

    def structure(
        self, student: PreTrainedModel, teacher: PreTrainedModel, layers: LayerMap, group: Group, known: Mapping[str, Any]
    ) -> Found:
        """Remove heads from the stock student in place and say what it is from now on.

        `layers` is what it is compared with; `known` what an earlier part of the run found (`Found.to_dict`), or empty. Of a
        group, rank 0 measures for all.
        """
        kept: Heads = known["kept_heads"] if known else group.from_first(lambda: self._heads(student))
        keep_heads(student, kept)
        settings = self.training
        bf16 = bf16_by_device(settings.bf16, student.device) or False  # float32 where training has yet to find out
        objective = joint_objective(teacher, settings.losses, replace(layers, kept_heads=kept), bf16)
        bits = known["block_bits"] if known else group.from_first(lambda: self._bits(student, _counts(kept), objective))
        return Found(kept, bits)

    def _batches(self, student: PreTrainedModel) -> list[Batch]:
        order = epoch_batches(self.examples, self.training.batch_tokens, self.training.seed, epoch=0)
        pad_id = student.config.pad_token_id
        return [
            collate([self.examples[index] for index in indices], pad_id) for indices in order[: self.goals.measure_batches]
        ]

    def _heads(self, student: PreTrainedModel) -> Heads:
        share, live = self.goals.prune_heads, live_heads(student)
        if share == 0:
            return live
        batches = self._batches(student)
        with advancing(self.console, "scoring heads", len(batches)) as advance:
            scores = score_heads(student, batches, advance)
        kept = heads_to_keep(scores, share)
        for block, indices in live.items():  # of which heads of zeros are the first to go, as far as the share reaches
            kept[block] = [index for index in kept.get(block, indices) if index in indices] or indices[:1]
        self._write(HEADS_FILE, {"share": share, "scores": _lists(scores), "kept": kept})
        self.console.print(_heads_table(scores, kept))
        return kept

    def _bits(self, student: PreTrainedModel, heads: Mapping[str, int], objective: Objective) -> Mapping[str, int]:
        ratio = self.goals.target_ratio
        if ratio is None:
            return {}
        architecture = Architecture.from_config(student.config.to_dict())
        # Once before the measurement, which takes a while: an unreachable ratio is refused at once.
        spend({block: dict.fromkeys(FEWER_BITS, 0.0) for block in blocks(architecture)}, *self._budget(architecture, heads))
        batches = self._batches(student)
        at_bits: AtBits | None = None
        if self.compensates:
            layers = architecture.encoder_layers + architecture.decoder_layers
            with advancing(self.console, "compensating layers", layers) as advance:
                at_bits = compensated(student, batches, self.scheme.granularity, advance)
        total = losses_measured(len(blocks(architecture)), len(batches))
        with advancing(self.console, "measuring blocks", total) as advance:
            measured = measure_sensitivity(
                student, self.scheme, batches, objective, advance, self.clip, self.ternary, at_bits
            )
        structure = spend(measured.increase, *self._budget(architecture, heads))
        size = file_bytes(architecture, self.scheme, structure)
        bits = {block: structure.block_bits.get(block, self.scheme.weight_bits) for block in measured.increase}
        figures = {
            "target_ratio": ratio,
            "compensated": self.compensates,
            "ratio": round(self.teacher_bytes / size, 2),
            "bytes": size,
        }
        self._write(
            SENSITIVITY_FILE, {**figures, "loss_at_8_bits": measured.loss, "increase": measured.increase, "bits": bits}
        )
        self.console.print(_sensitivity_table(measured, bits, self.compensates))
        return structure.block_bits

    def _budget(
        self, architecture: Architecture, heads: Mapping[str, int]
    ) -> tuple[Architecture, Scheme, Mapping[str, int], int, float]:
        assert self.goals.target_ratio is not None
        return architecture, self.scheme, heads, self.teacher_bytes, self.goals.target_ratio

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        with whole_files(self.output) as partial:
            (partial / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def joint_objective(teacher: PreTrainedModel, weights: LossWeights, layers: LayerMap, bf16: bool) -> Objective:
    """The loss of training, of a stock model in evaluation; the teacher runs once a batch."""

    def objective(batch: Batch) -> Callable[[PreTrainedModel], float]:
        def loss(student: PreTrainedModel) -> float:
            with torch.inference_mode():
                ours = outputs_of(student, batch, weights, bf16)
                return float(joint_losses(ours, expected, batch, weights, layers)["total"])

        with torch.inference_mode():
            expected = outputs_of(teacher, batch, weights, bf16) if weights.needs_teacher else None
        return loss

    return objective


def _counts(kept: Heads) -> dict[str, int]:
    return {block: len(indices) for block, indices in kept.items()}


def _lists(scores: Mapping[str, Tensor]) -> dict[str, list[float]]:
    return {block: [round(score, 5) for score in of_block.tolist()] for block, of_block in scores.items()}


def _heads_table(scores: Mapping[str, Tensor], kept: Heads) -> Table:
    table = Table("attention", "heads", "scores, (removed)", title="Heads", title_justify="left")
    for block, of_block in scores.items():
        stays = kept.get(block, range(len(of_block)))
        shown = [f"{score:.2f}" if index in stays else f"({score:.2f})" for index, score in enumerate(of_block.tolist())]
        table.add_row(block, f"{len(stays)} of {len(of_block)}", " ".join(shown))
    return table


def _sensitivity_table(measured: Sensitivity, bits: Mapping[str, int], compensated: bool) -> Table:
    how = "fewer bits, compensated" if compensated else "fewer bits"
    title = f"Sensitivity: loss added by one block at {how}, to {measured.loss:.4f} with all at 8"
    table = Table(title=title, title_justify="left")
    for name in ("block", *(f"at {fewer} bits" for fewer in FEWER_BITS), "bits it gets"):
        table.add_column(name, no_wrap=True)
    for block, increase in measured.increase.items():
        table.add_row(block, *(f"{increase[fewer]:+.4f}" for fewer in FEWER_BITS), str(bits[block]))
    return table
