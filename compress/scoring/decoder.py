"""What is scored: a model that writes an output for each example, whoever computes it and however it reads texts.

Here is the plain one, which takes a model as it is to `generate`, and reads each text whole. The engine is another one
(`pipelines.scoring`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from transformers import PreTrainedModel

from compress.data.text_format import Example, TextFormat
from compress.scoring.decoding import DecodingSettings, generate
from quant.card import Task

Reading = Literal["whole", "by sentence"]
"""How texts are read: each in one, without its end where it is too long; or each sentence by itself, as the service does."""

Progress = Callable[[int], None]
"""Told numbers of examples that are finished."""


@dataclass(frozen=True)
class Decoded:
    """What came of examples."""

    outputs: list[str]
    """In their order; empty for one that was refused."""
    truncated: int
    """Examples whose source was read without its end."""
    refused: int = 0
    """Examples that the model cannot read at all."""


class Decoder(Protocol):
    """Decodes examples with one model by one set of settings."""

    @property
    def task(self) -> Task: ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the search that do something, by the names of generation_config.json."""

    @property
    def decoded_by(self) -> str:
        """What computes, as figures of it say."""

    @property
    def reading(self) -> Reading: ...

    def decode(self, examples: Sequence[Example], progress: Progress) -> Decoded: ...


class PlainDecoder:
    """A model as it is, by `generate`."""

    reading: Reading = "whole"

    def __init__(
        self, model: PreTrainedModel, text_format: TextFormat, settings: DecodingSettings, batch_tokens: int
    ) -> None:
        """`batch_tokens` bounds padded source tokens times beams in a batch. Raises DecodingError."""
        self._model = model
        self._text_format = text_format
        self._settings = settings
        self._batch_tokens = batch_tokens
        self.task = text_format.card.task
        self.settings = settings.over(model).in_effect()
        self.decoded_by = f"generate, {model.device.type}"

    def decode(self, examples: Sequence[Example], progress: Progress) -> Decoded:
        encoded = self._text_format.encode(examples, max_target_tokens=sys.maxsize)
        outputs = generate(self._model, self._text_format, examples, encoded, self._settings, self._batch_tokens, progress)
        return Decoded(outputs, sum(each.truncated for each in encoded))
