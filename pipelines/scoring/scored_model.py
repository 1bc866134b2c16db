"""A model to be scored, of either kind: a packed artifact, or a teacher's folder or hub id."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from compress.data.text_format import Example
from compress.model.servable import ServableError
from compress.model.teacher import load_teacher
from compress.model.told import Told, taken_over
from compress.scoring.decoder import Decoder, PlainDecoder, Progress
from compress.scoring.decoding import DecodingSettings, decode_alike, search_settings
from pipelines.scoring.by_engine import EngineDecoder, engine_decoder
from pipelines.scoring.by_generate import GenerateDecoder
from pipelines.scoring.check_generate import Check, check, generate_decoder
from pipelines.scoring.reading import Reader
from quant.artifact import is_artifact, open_artifact
from quant.card import Card

BATCH_TOKENS = 8192
Search = Mapping[str, Any]
"""Settings of a search that one model has of another, by the names of generation_config.json."""


class ScoredModel(Protocol):
    """A model of either kind."""

    @property
    def card(self) -> Card: ...

    @property
    def search(self) -> Search:
        """Its own settings of the search."""

    def decoder(
        self, device: torch.device, settings: DecodingSettings, search: Search | None = None
    ) -> AbstractContextManager[Decoder]:
        """The model, loaded while the block lasts; `settings` are over its own, or over `search`, which it has in its place.

        Raises DecodingError.
        """

    def check(
        self,
        decoder: Decoder,
        examples: Sequence[Example],
        count: int,
        settings: DecodingSettings,
        search: Search | None,
        progress: Progress,
    ) -> Check | None:
        """So many examples decoded by `generate` as well; None of a model that is decoded by nothing else."""


class ScoredArtifact:
    """Scored as it is served: by the engine."""

    def __init__(self, folder: Path, told: Told, batch_tokens: int = BATCH_TOKENS) -> None:
        """Raises ArtifactError, ToldError."""
        self.folder = folder
        self._batch_tokens = batch_tokens
        self._artifact = open_artifact(folder)
        self.card = self._artifact.card
        taken_over(str(folder), self.card, told)

    @property
    def search(self) -> Search:
        return search_settings(DecodingSettings().over_artifact(self._artifact))

    @contextmanager
    def decoder(self, device: torch.device, settings: DecodingSettings, search: Search | None = None) -> Iterator[Decoder]:
        with engine_decoder(self.folder, device, settings.over_artifact(self._artifact, search)) as decoder:
            yield decoder

    def check(
        self,
        decoder: Decoder,
        examples: Sequence[Example],
        count: int,
        settings: DecodingSettings,
        search: Search | None,
        progress: Progress,
    ) -> Check | None:
        assert isinstance(decoder, EngineDecoder), "a decoder of this model"
        return check(decoder, generate_decoder(self.folder, settings, search, self._batch_tokens), examples, count, progress)


class ScoredTeacher:
    """Scored by `generate`, and read as the service would read for it, so that it differs from a student in nothing else."""

    def __init__(self, name: str, told: Told, tell: Callable[[str], None], batch_tokens: int) -> None:
        """Raises ToldError, TeacherError."""
        self._teacher = load_teacher(name, told)
        self._batch_tokens = batch_tokens
        self._tell = tell
        self.card = self._teacher.text_format.card

    @property
    def search(self) -> Search:
        return search_settings(DecodingSettings().over(self._teacher.model))

    @contextmanager
    def decoder(self, device: torch.device, settings: DecodingSettings, search: Search | None = None) -> Iterator[Decoder]:
        model, text_format = self._teacher.model, self._teacher.text_format
        decode_alike(model, search or {})
        model.to(device)
        try:
            reader = Reader.of(text_format, self._teacher.architecture.vocab_size)
        except ServableError as error:
            self._tell(f"warning: texts are read whole, and not as the service reads: {error}")
            reader = None
        try:
            if reader is None:
                yield PlainDecoder(model, text_format, settings, self._batch_tokens)
            else:
                config = settings.resolved(model, text_format)
                yield GenerateDecoder(model, reader, settings.over(model), config, self._batch_tokens)
        finally:
            model.to("cpu")

    def check(
        self,
        decoder: Decoder,
        examples: Sequence[Example],
        count: int,
        settings: DecodingSettings,
        search: Search | None,
        progress: Progress,
    ) -> Check | None:
        return None


def scored_model(name: str, told: Told, tell: Callable[[str], None], batch_tokens: int) -> ScoredModel:
    """The model of that name; `tell` is told what is not as it should be. Raises ToldError, and what loading does.

    `batch_tokens` bounds padded source tokens times beams in a batch of `generate`.
    """
    if is_artifact(Path(name)):
        return ScoredArtifact(Path(name), told, batch_tokens)
    return ScoredTeacher(name, told, tell, batch_tokens)
