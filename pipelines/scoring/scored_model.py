"""A model to be scored, of either kind: a packed artifact, or a teacher's folder or hub id."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from compress.data.text_format import Example
from compress.model.servable import ServableError
from compress.model.teacher import load_teacher
from compress.model.token_format import LanguagePair
from compress.scoring.asked import ScoredModelError, check_asked
from compress.scoring.decoder import Decoder, PlainDecoder, Progress
from compress.scoring.decoding import DecodingSettings, decode_alike, search_settings
from pipelines.scoring.by_engine import EngineDecoder, engine_decoder
from pipelines.scoring.by_generate import GenerateDecoder
from pipelines.scoring.check_generate import Check, check, generate_decoder
from pipelines.scoring.reading import Reader
from quant.artifact import is_artifact, open_artifact
from quant.card import Card, Task

Search = Mapping[str, Any]
"""Settings of a search that one model has of another, by the names of generation_config.json."""


@dataclass(frozen=True)
class Told:
    """What is said of models; an artifact knows all but the first two by itself."""

    task: Task | None
    languages: LanguagePair
    source_template: str | None = None
    max_source_tokens: int | None = None
    allow_pickle: bool = False
    passage_separator: str | None = None
    max_target_tokens: int | None = None
    batch_tokens: int = 8192


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

    def __init__(self, folder: Path, told: Told) -> None:
        """Raises ArtifactError, ScoredModelError."""
        self.folder = folder
        self._batch_tokens = told.batch_tokens
        self._artifact = open_artifact(folder)
        self.card = self._artifact.card
        check_asked(str(folder), self.card, told.task, told.languages)

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

    def __init__(self, name: str, told: Told, tell: Callable[[str], None]) -> None:
        """Raises ScoredModelError, TeacherError."""
        if told.task is None:
            raise ScoredModelError(f"{name} is no packed artifact, so --task is needed")
        self._teacher = load_teacher(
            name,
            told.task,
            told.languages,
            False,
            told.source_template,
            told.max_source_tokens,
            told.allow_pickle,
            told.passage_separator,
            told.max_target_tokens,
        )
        self._batch_tokens = told.batch_tokens
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


def scored_model(name: str, told: Told, tell: Callable[[str], None]) -> ScoredModel:
    """The model of that name; `tell` is told what is not as it should be. Raises ScoredModelError, and what loading does."""
    return ScoredArtifact(Path(name), told) if is_artifact(Path(name)) else ScoredTeacher(name, told, tell)
