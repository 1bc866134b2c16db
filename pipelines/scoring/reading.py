"""Examples to what a model is given of them, by the service's own code: normalized, by sentence, cut where too long."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from compress.data.text_format import Example, TextFormat
from compress.model.servable import check_servable
from compress.scoring.decoder import Reading
from quant.card import Task
from serving.service.errors import ErrorCode, ServiceError
from serving.service.requests import Truncation
from serving.service.sources import SourceReader, Sources
from serving.service.text import TextCodec

TRUNCATION: Mapping[Task, Truncation] = {"translation": "chunk", "summarization": "end", "question-answering": "end"}
"""The service's default for translations. What is to be read whole and is too long, which the service refuses unless it is
asked for something else, loses its end, as it does in training."""

READINGS: Mapping[Task, Reading] = {
    "translation": "by sentence",
    "summarization": "whole",
    "question-answering": "whole",
}

_REFUSED = (ErrorCode.TOO_LONG, ErrorCode.EMPTY_TEXT)


def is_refusal(error: Exception) -> bool:
    """Whether it is of one example, which no model could read, and not of how it is asked."""
    return isinstance(error, ServiceError) and error.code in _REFUSED


class Reader:
    """Reads examples for one model."""

    def __init__(self, codec: TextCodec, task: Task) -> None:
        self.codec = codec
        self.task = task

    @classmethod
    def of(cls, text_format: TextFormat, vocab_size: int) -> Reader:
        """As a model with this text format would be served. Raises ServableError where it could not be."""
        check_servable(text_format, vocab_size)
        with tempfile.TemporaryDirectory(prefix="dqbart-") as folder:
            text_format.tokenizer.save_pretrained(folder)
            return cls(TextCodec(Path(folder), text_format.card, vocab_size), text_format.card.task)

    def read(self, example: Example) -> Sources | None:
        """None for one that is refused."""
        languages = example.source_language, example.target_language
        reader = SourceReader(self.codec, self.task, *languages, TRUNCATION[self.task], sys.maxsize)
        try:
            return reader.read(example.texts)
        except ServiceError as error:
            if not is_refusal(error):
                raise
            return None
