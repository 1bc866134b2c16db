"""What the engine is given of a request's inputs: their sources, and parameters by the request and the model's defaults."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Self

from quant.card import Task, Texts
from serving.engine.request import GenerationParameters
from serving.service.generation import refused
from serving.service.inputs import characters
from serving.service.languages import resolve_languages
from serving.service.models import ServedModel
from serving.service.off_loop import off_loop
from serving.service.requests import TaskRequest, TranslateRequest
from serving.service.sources import SourceReader, Sources

MAX_SCORED_TOKENS = 65_536
"""Of a request. Each is an object of half a kilobyte, and a line of the response."""

OFF_LOOP_CHARACTERS = 4000
"""Inputs with more text are encoded beside the loop: it takes over a millisecond."""


@dataclass(frozen=True)
class PreparedInput:
    """An input as it goes to the engine."""

    sources: Sources
    parameters: GenerationParameters


def prepare(sources: Sources, parameters: GenerationParameters, task: Task, streamed: bool = False) -> PreparedInput:
    """Raises ServiceError (bad_parameter) for parameters that mean nothing for a stream, or an output of several windows."""
    if streamed and parameters.num_return_sequences > 1:
        message = f"{parameters.num_return_sequences}: of a streamed input there is one output; leave one of the two out"
        raise refused("num_return_sequences", message)
    windows = len(sources.windows)
    if windows > 1 and task == "summarization":
        if parameters.num_return_sequences > 1:
            message = f"{parameters.num_return_sequences}: of an input answered in {windows} windows there is one output"
            raise refused("num_return_sequences", message)
        if parameters.return_scores:
            raise refused("return_scores", f"true: an output made of those of {windows} windows has no score")
    return PreparedInput(sources, parameters)


def check_scores(inputs: Iterable[PreparedInput], task: Task) -> None:
    """Raises ServiceError (bad_parameter) when more tokens could be told with their scores than one response may have."""
    tokens = sum(
        given.parameters.max_new_tokens
        * given.parameters.num_return_sequences
        # Of other tasks, one window's outputs are told.
        * (len(given.sources.windows) if task == "translation" else 1)
        for given in inputs
        if given.parameters.return_scores
    )
    if tokens > MAX_SCORED_TOKENS:
        message = f"true: {tokens} tokens may be generated, and {MAX_SCORED_TOKENS} at most are told with their scores: "
        raise refused("return_scores", message + "ask for fewer of them with max_new_tokens, for fewer outputs or inputs")


@dataclass(frozen=True)
class Preparing:
    """Prepares the inputs of one request for one model."""

    model: ServedModel
    request: TaskRequest
    """What holds for all inputs; its texts are not looked at."""
    reader: SourceReader
    max_rows: int
    streamed: bool = False

    @classmethod
    def of(cls, model: ServedModel, request: TaskRequest, max_windows: int, max_rows: int, streamed: bool = False) -> Self:
        """Raises ServiceError (unknown_language, bad_parameter) for languages that the model has not."""
        card = model.checked.card
        source_language = target_language = None
        if isinstance(request, TranslateRequest):
            source_language, target_language = resolve_languages(
                card.language_pairs, request.source_language, request.target_language
            )
        reader = SourceReader(model.codec, card.task, source_language, target_language, request.truncation, max_windows)
        return cls(model, request, reader, max_rows, streamed)

    def prepare(self, texts: Texts) -> PreparedInput:
        """One input as it goes to the engine. Raises ServiceError for whatever is wrong with it."""
        return self._with_parameters(self.reader.read(texts))

    def check(self) -> None:
        """Raises the ServiceError that the parameters are for every input, whatever its texts."""
        self._with_parameters(Sources((), (), "", "none", 0, 0))

    async def read(self, texts: Texts) -> Sources:
        """Sources of one input, without holding up the loop."""
        work = partial(self.reader.read, texts)
        return await off_loop(work) if characters(texts) > OFF_LOOP_CHARACTERS else work()

    def _with_parameters(self, sources: Sources) -> PreparedInput:
        example = sources.windows[0] if sources.windows else self.reader.nothing()
        checked = self.model.checked
        parameters = checked.defaults.resolve(self.request.parameters, example, self.max_rows)
        return prepare(sources, parameters, checked.card.task, self.streamed)
