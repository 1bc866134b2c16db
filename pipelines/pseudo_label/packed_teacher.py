"""The model that labels, as an artifact that the engine runs: one that is there, or a checkpoint packed to 8-8-8.

At 8 bits a teacher scores about as in float32, and the engine runs it several times faster than `generate` does.
"""

from __future__ import annotations

from pathlib import Path

from compress.errors import CompressError
from compress.model.quantized_modules import full_precision_weights
from compress.model.teacher import Teacher
from compress.scoring.decoding import DecodingSettings
from quant.artifact import write_artifact
from quant.card import Card, Task
from quant.scheme import Scheme

SCHEME = Scheme(8, 8, 8)


class PseudoLabelError(CompressError):
    """A model that cannot label as asked."""


def pack_teacher(teacher: Teacher, folder: Path) -> None:
    """Write a checkpoint's own weights as an artifact of all its layers."""
    generation = DecodingSettings().recorded(teacher.model, teacher.text_format)
    config = {key: value for key, value in teacher.model.config.to_dict().items() if value is not None}
    weights = full_precision_weights(teacher.model)
    write_artifact(folder, weights, config, generation, SCHEME, teacher.digest, teacher.text_format.card)
    teacher.text_format.tokenizer.save_pretrained(folder)


def check_artifact(name: str, card: Card, task: Task, directions: list[tuple[str | None, str | None]]) -> None:
    """Raises PseudoLabelError for a task or a direction that an artifact was not made for."""
    if card.task != task:
        raise PseudoLabelError(f"task is {task}, but {name} was made for {card.task}")
    for direction in directions:
        if not card.speaks(*direction):
            known = ", ".join(card.directions) or "no languages"
            asked = "no languages" if direction == (None, None) else f"{direction[0]}>{direction[1]}"
            raise PseudoLabelError(f"{name} has {known}, not {asked}")
