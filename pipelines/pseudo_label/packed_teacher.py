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
