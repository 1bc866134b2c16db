"""What decodes a student while it is trained: the engine, as clients of the service will be answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedModel

from compress.scoring.decoder import Decoder
from compress.scoring.decoding import generate_config
from pipelines.scoring.by_engine import engine_decoder
from pipelines.scoring.by_generate import GenerateDecoder
from pipelines.scoring.reading import Reader
from quant.artifact import open_artifact
from quant.generation import GenerationSettings
from serving.service.text import TextCodec


@contextmanager
def open_student(folder: Path, student: PreTrainedModel, batch_tokens: int) -> Iterator[Decoder]:
    """Decodes with the artifact in `folder`, by its own settings.

    A student that is trained on a GPU decodes by itself: what the engine needs there would have to be free beside the
    training.
    """
    if student.device.type != "cpu":
        yield by_itself(folder, student, batch_tokens)
        return
    settings = GenerationSettings.of(open_artifact(folder))
    # Nobody will open this artifact again, so it is not kept packed.
    with engine_decoder(folder, student.device, settings, packed_folder="none") as decoder:
        yield decoder


def by_itself(folder: Path, student: PreTrainedModel, batch_tokens: int) -> GenerateDecoder:
    """The student by `generate`, with the settings of its artifact in `folder`, of texts as the service reads them."""
    artifact = open_artifact(folder)
    settings = GenerationSettings.of(artifact)
    reader = Reader(TextCodec(folder, artifact.card, artifact.architecture.vocab_size), artifact.card.task)
    config = generate_config(settings, artifact.generation_config)
    return GenerateDecoder(student, reader, settings, config, batch_tokens)
