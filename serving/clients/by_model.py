"""Inputs answered by a model here, without a server."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from quant.card import Task
from quant.errors import Error
from serving.clients.answers import MODEL_KEYS, OF_ONE_INPUT, Answer, Answered, Batch, Refusal, Refused
from serving.clients.commands import Asking
from serving.clients.inputs import Input
from serving.program.model import load
from serving.service.errors import ServiceError
from serving.service.results import Output, Result


class ByModel:
    """The artifact in a folder, loaded for one command."""

    def __init__(self, settings: Asking, folder: Path, task: Task) -> None:
        """Raises Error for what is no model that can be loaded."""
        self._model = load(folder, threads=settings.threads)
        self._task = task
        self._options = settings.options()
        # Of a file a chunk is written at a time, which takes as long for one line as for all.
        self._most = 1 if settings.output is None else settings.inputs_per_request

    def answers(self, inputs: Iterable[Input], skip: bool) -> Generator[Batch]:
        each: dict[Task, Any] = {
            "translation": self._model.translate_each,
            "summarization": self._model.summarize_each,
            "question-answering": self._model.answer_each,
        }
        coming: deque[Input] = deque()
        batch: list[tuple[Input, Answer]] = []
        results: Generator[Result | Error] = each[self._task](
            self._asked(inputs, coming), on_error="return", **self._options
        )
        fault: Exception | None = None
        with closing(results):
            while fault is None:
                try:
                    result = next(results, None)
                except Exception as raised:
                    result, fault = None, raised
                batch += _empty(coming)
                if result is None:
                    break
                given = coming.popleft()
                if isinstance(result, Result):
                    batch.append((given, answered(result)))
                elif skip and isinstance(result, ServiceError) and result.code in OF_ONE_INPUT:
                    batch.append((given, Refusal(result.code, result.message)))
                else:
                    fault = Refused(given.place, result)
                if len(batch) >= self._most:
                    yield batch
                    batch = []
            if batch:
                yield batch
            if fault is not None:
                raise fault

    def stream(self, given: Input) -> Generator[str | Answered]:
        stream: dict[Task, Any] = {
            "translation": self._model.translate_stream,
            "summarization": self._model.summarize_stream,
            "question-answering": self._model.answer_stream,
        }
        asked = self._form(given)
        parts = stream[self._task](*(asked if isinstance(asked, tuple) else (asked,)), **self._options)
        with closing(parts):
            for part in parts:
                yield answered(part) if isinstance(part, Result) else part

    def model(self, task: Task) -> dict[str, Any]:
        return self._model.description.model_dump(include=set(MODEL_KEYS))

    def close(self) -> None:
        self._model.close()

    def _asked(self, inputs: Iterable[Input], coming: deque[Input]) -> Iterator[Any]:
        """What is asked of the model; `coming` gets all inputs, the empty ones too."""
        for given in inputs:
            coming.append(given)
            if not given.empty:
                yield self._form(given)

    def _form(self, given: Input) -> Any:
        if self._task != "question-answering":
            return given.text
        return given.text, given.contexts[0] if len(given.contexts) == 1 else given.contexts


def answered(result: Result) -> Answered:
    """A result of the program."""
    sequences = tuple(_output(each) for each in result.sequences or ())
    tokens = result.generated_tokens
    return Answered(result.text, tokens, result.score, result.unknown_tokens, result.seed, sequences)


def _output(output: Output) -> Answered:
    return Answered(output.text, output.generated_tokens, output.score)


def _empty(coming: deque[Input]) -> Iterator[tuple[Input, Answer]]:
    """Those before the next that was asked for, which have no answer."""
    while coming and coming[0].empty:
        yield coming.popleft(), None
