"""The model of a run, checked before Ray starts: what it does, in which languages, and whether it can as asked.

Of its weights no more is read than their bytes, for a digest: a run is continued with the same model only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pipelines.batch.errors import BatchError
from quant.card import Card, CardError, Task
from quant.strange_files import StrangeFileError, read_json

_FILES = ("config.json", "generation_config.json", "tokenizer.json", "model.safetensors")


@dataclass(frozen=True)
class Model:
    """What a run needs to know of an artifact."""

    folder: Path
    card: Card
    config: Mapping[str, Any]

    @property
    def task(self) -> Task:
        return self.card.task

    def check_languages(self, source: str | None, target: str | None, in_columns: tuple[bool, bool]) -> None:
        """Raises BatchError for languages of all rows that the model does not have; a row's own are checked with it."""
        from serving.service.errors import ServiceError
        from serving.service.languages import resolve_languages

        if self.task != "translation":
            return
        # What a column may say at best, so that a fault is that of the other language.
        sources = self.card.languages if in_columns[0] else (source,)
        targets = self.card.languages if in_columns[1] else (target,)
        fault: ServiceError | None = None
        for pair in product(sources, targets):
            try:
                resolve_languages(self.card.language_pairs, *pair)
            except ServiceError as error:
                fault = error
            else:
                return
        raise BatchError(f"{fault}; --source-language and --target-language, or columns of them, say which")

    def check_parameters(self, parameters: Mapping[str, Any], batch_rows: int) -> None:
        """Raises BatchError for parameters that the model, or an engine of so many rows, cannot follow."""
        from quant.generation import GenerationConfigError
        from quant.layout import Architecture, ArchitectureError
        from serving.service.errors import ServiceError
        from serving.service.generation import GenerationDefaults
        from serving.service.requests import GenerationParameters
        from serving.service.text import EncodedSource

        try:
            model = Architecture.from_config(self.config)
            entries = _read(self.folder / "generation_config.json")
            positions, words = model.max_position_embeddings, model.vocab_size
            defaults = GenerationDefaults.read(entries, model.eos_token_id, positions, words)
            defaults.resolve(GenerationParameters(**parameters), EncodedSource((), 0, None), batch_rows)
        except (ArchitectureError, GenerationConfigError) as error:
            raise BatchError(f"{self.folder}: {error}") from error
        except ServiceError as error:
            raise BatchError(str(error).replace("the server allows", "--batch-rows allows")) from error

    def digest(self) -> str:
        """Of all files that decide an output. Raises BatchError."""
        found = hashlib.sha256()
        for name in _FILES:
            try:
                with (self.folder / name).open("rb") as file:
                    found.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise BatchError(f"{self.folder / name} cannot be read: {error.strerror or error}") from error
        return f"sha256:{found.hexdigest()}"


def open_model(folder: Path) -> Model:
    """Raises BatchError for a folder that is no artifact."""
    config = _read(folder / "config.json")
    try:
        return Model(folder.absolute(), Card.from_dict(config.get("dqbart", {})), config)
    except CardError as error:
        raise BatchError(f"{folder} is no artifact that `dqbart compress` made: {error}") from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = read_json(path)
    except StrangeFileError as error:
        raise BatchError(str(error)) from error
    if not isinstance(content, dict):
        raise BatchError(f"{path} holds no JSON object")
    return content
