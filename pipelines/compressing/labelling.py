"""What a teacher writes for texts, by the engine: greedily, at 8 bits, at which it scores as in full precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from compress.data.text_format import Example
from compress.model.teacher import Teacher
from pipelines.pseudo_label.packed_teacher import pack_teacher
from pipelines.scoring.by_engine import engine_decoder
from quant.artifact import open_artifact
from quant.generation import GenerationSettings


def written_by(teacher: Teacher, folder: Path, examples: Sequence[Example], advance: Callable[[int], None]) -> Sequence[str]:
    """The outputs of each example, empty for one that the service would refuse; texts are read as the service does.

    The teacher is packed in `folder`. Raises ServiceError and ModelError.
    """
    pack_teacher(teacher, folder)
    settings = replace(GenerationSettings.of(open_artifact(folder)), num_beams=1, do_sample=False)
    # Nobody will open this artifact again, so it is not kept packed.
    with engine_decoder(folder, teacher.model.device, settings, packed_folder="none") as decoder:
        return decoder.decode(examples, advance).outputs
