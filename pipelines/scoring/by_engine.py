"""Scored by the engine: what a client of the service would get, by the same code, with continuous batching."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from compress.data.text_format import Example
from compress.scoring.decoder import Decoded, Progress
from pipelines.scoring.reading import READINGS, TRUNCATION, is_refusal
from quant.card import Texts, passages
from quant.errors import Error
from quant.generation import GenerationSettings
from serving.engine.runners import RunnerUnavailable
from serving.engine.settings import RunnerName
from serving.program.model import Model, load
from serving.program.options import EngineOptions
from serving.service.inputs import characters
from serving.service.results import Result

ROWS = 128
"""Rows decoded together: twice those of a server, as nobody waits for the first token."""

SEARCH = (
    "num_beams",
    "length_penalty",
    "max_new_tokens",
    "min_new_tokens",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "early_stopping",
    "repetition_penalty",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
)
"""What a request says of a search."""

_LOG = logging.getLogger(__name__)


class EngineDecoder:
    """A loaded artifact."""

    def __init__(self, model: Model, runner: RunnerName, settings: GenerationSettings) -> None:
        self._model = model
        self._search = {name: getattr(settings, name) for name in SEARCH}
        if settings.do_sample:
            self._search["seed"] = 0  # the same draws in every validation
        self.task = model.task
        self.reading = READINGS[model.task]
        self.settings = settings.in_effect()
        self.decoded_by = f"engine, {runner}"

    def decode(self, examples: Sequence[Example], progress: Progress) -> Decoded:
        outputs = [""] * len(examples)
        truncated = refused = 0
        for place, result in self.results(examples):
            if result is None:
                refused += 1
            else:
                outputs[place] = result.text
                truncated += result.truncation.applied == "end"
            progress(1)
        return Decoded(outputs, truncated, refused)

    def token_ids(self, examples: Sequence[Example]) -> list[list[int]]:
        """Generated ids of each example, those of its windows one after another; none of one that is refused."""
        ids: list[list[int]] = [[] for _ in examples]
        for place, result in self.results(examples, return_scores=True):
            ids[place] = [] if result is None else [token.id for token in result.tokens or ()]
        return ids

    def results(self, examples: Sequence[Example], **more: Any) -> Iterator[tuple[int, Result | None]]:
        """Each example's place and result, None for one that is refused; sources of like length one after another.

        Raises ServiceError for settings that the model cannot follow, and GenerationFailed.
        """
        directions = dict.fromkeys((example.source_language, example.target_language) for example in examples)
        for direction in directions:
            places = [
                place
                for place, example in enumerate(examples)
                if (example.source_language, example.target_language) == direction
            ]
            places.sort(key=lambda place: -characters(examples[place].texts))
            with closing(self._each([examples[place].texts for place in places], direction, more)) as results:
                for place, result in zip(places, results, strict=True):
                    if isinstance(result, Result):
                        yield place, result
                    elif is_refusal(result):
                        yield place, None
                    else:
                        raise result

    def _each(
        self, inputs: Sequence[Texts], direction: tuple[str | None, str | None], more: Mapping[str, Any]
    ) -> Generator[Result | Error]:
        options = {**self._search, **more}
        truncation = TRUNCATION[self.task]
        if self.task == "question-answering":
            questions = ((_text(texts["question"]), texts["context"]) for texts in inputs)
            return self._model.answer_each(questions, on_error="return", truncation=truncation, **options)
        sources = (_text(texts["source"]) for texts in inputs)
        if self.task == "summarization":
            return self._model.summarize_each(sources, on_error="return", truncation=truncation, **options)
        source, target = direction
        return self._model.translate_each(
            sources, on_error="return", source=source, target=target, truncation=truncation, **options
        )


@contextmanager
def engine_decoder(
    folder: Path, device: torch.device, settings: GenerationSettings, packed_folder: str = "auto"
) -> Iterator[EngineDecoder]:
    """The artifact in a folder, loaded while the block lasts, on the fastest runner of a device that it can have.

    It computes on as many threads as PyTorch has, which has them again after it. Raises ModelError.
    """
    threads = torch.get_num_threads()
    options: EngineOptions = {"max_batch_rows": ROWS, "packed_folder": packed_folder}
    names: tuple[RunnerName, ...] = ("cuda", "native") if device.type == "cuda" else ("native",)
    model, runner = _loaded(folder, (*names, "pytorch"), threads, options)
    try:
        with model:
            yield EngineDecoder(model, runner, settings)
    finally:
        torch.set_num_threads(threads)


def _loaded(folder: Path, names: Sequence[RunnerName], threads: int, options: EngineOptions) -> tuple[Model, RunnerName]:
    *others, last = names
    for name in others:
        try:
            return load(folder, runner=name, threads=threads, **options), name
        except RunnerUnavailable as error:
            _LOG.warning("%s: %s", folder.resolve().name, error)
    return load(folder, runner=last, threads=threads, **options), last


def _text(text: str | tuple[str, ...]) -> str:
    (only,) = passages(text)
    return only
