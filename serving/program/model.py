"""`load` and the model that it gives, for plain code; async_model.py has its twin.

    with load("models/mbart-de-en-2-4-8") as model:
        (result,) = model.translate(["Guten Morgen!"], source="de", target="en")

Requests mean what they mean to a server, by the same code: languages, parameters, truncation, sentences, results.
"""

from __future__ import annotations

import weakref
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from os import PathLike
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from quant.card import Task
from quant.errors import Error
from serving.engine.settings import EngineSettings, RunnerName
from serving.program.calls import each, pairs
from serving.program.in_order import in_order
from serving.program.loaded import Loaded
from serving.program.options import EngineOptions, OnError, Options, Question, TranslateOptions
from serving.service.descriptions import ModelDescription
from serving.service.inputs import listed
from serving.service.models import Models
from serving.service.requests import AnswerRequest, SummarizeRequest, TaskRequest, TranslateRequest
from serving.service.results import Result

if TYPE_CHECKING:
    from serving.program.async_model import AsyncModel

T = TypeVar("T")


def load(
    folder: str | PathLike[str],
    *,
    threads: int | None = None,
    runner: RunnerName = "auto",
    **engine: Unpack[EngineOptions],
) -> Model:
    """The model of an artifact, on this machine's fastest runner. All models of a process share `threads` (default: all).

    `engine` are the engine's settings (serving/engine/settings.py); models share `max_cache_bytes`, as the first says.
    Raises ModelError for what is no readable artifact, InvalidSettings, RunnerUnavailable, and ForkedError.
    """
    return Model(Loaded(Path(folder), EngineSettings(**engine), runner, threads))


class Model:
    """One loaded model. Safe to use from any number of threads, and to be closed by any; its twin for asyncio is `aio`."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        # On a thread: that nobody has it any more is found out on any, also on one that the closing waits for.
        self._forgotten = weakref.finalize(self, _close_beside, loaded)
        self._forgotten.atexit = False

    def __repr__(self) -> str:
        return f"<Model {self.name}, {self.task}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop after the step in progress; what is on its way ends with a ServiceError. May be called again."""
        self._forgotten.detach()
        self._loaded.close()

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self._loaded.name

    @property
    def task(self) -> Task:
        return self._loaded.served.checked.card.task

    @property
    def description(self) -> ModelDescription:
        """What a server tells of it: task, languages, sizes, defaults of the parameters, scores."""
        return Models([self._loaded.served], {self.task: self.name}).describe()[0]

    @property
    def aio(self) -> AsyncModel:
        """The same model for asyncio."""
        from serving.program.async_model import AsyncModel

        return AsyncModel(self, self._loaded)

    def translate(self, texts: str | Iterable[str], **options: Unpack[TranslateOptions]) -> list[Result]:
        """A result for each text. Raises ServiceError for the first that is at fault, and GenerationFailed."""
        return self._all(TranslateRequest, listed(texts), options)

    @overload
    def translate_each(
        self, texts: Iterable[str], *, on_error: Literal["raise"] = "raise", **options: Unpack[TranslateOptions]
    ) -> Generator[Result]: ...
    @overload
    def translate_each(
        self, texts: Iterable[str], *, on_error: OnError, **options: Unpack[TranslateOptions]
    ) -> Generator[Result | Error]: ...
    def translate_each(
        self, texts: Iterable[str], *, on_error: OnError = "raise", **options: Unpack[TranslateOptions]
    ) -> Generator[Result | Error]:
        """Results of any number of texts, in their order, while they are read (see in_order.py).

        With `on_error="return"` a text that is refused gives its error in place of a result. Leaving the iterator cancels
        what is on its way.
        """
        return self._each(TranslateRequest, each(texts, on_error), options, on_error)

    def translate_stream(self, text: str, **options: Unpack[TranslateOptions]) -> Generator[str | Result]:
        """The translation in parts, as early as they are certain, then its result. Leaving the iterator cancels it."""
        return self._stream(TranslateRequest, text, options)

    def summarize(self, texts: str | Iterable[str], **options: Unpack[Options]) -> list[Result]:
        """A result for each text. Raises ServiceError for the first that is at fault, and GenerationFailed."""
        return self._all(SummarizeRequest, listed(texts), options)

    @overload
    def summarize_each(
        self, texts: Iterable[str], *, on_error: Literal["raise"] = "raise", **options: Unpack[Options]
    ) -> Generator[Result]: ...
    @overload
    def summarize_each(
        self, texts: Iterable[str], *, on_error: OnError, **options: Unpack[Options]
    ) -> Generator[Result | Error]: ...
    def summarize_each(
        self, texts: Iterable[str], *, on_error: OnError = "raise", **options: Unpack[Options]
    ) -> Generator[Result | Error]:
        """As `translate_each`."""
        return self._each(SummarizeRequest, each(texts, on_error), options, on_error)

    def summarize_stream(self, text: str, **options: Unpack[Options]) -> Generator[str | Result]:
        """As `translate_stream`."""
        return self._stream(SummarizeRequest, text, options)

    def answer(
        self, question: str | Sequence[str], context: str | Sequence[str | Sequence[str]], **options: Unpack[Options]
    ) -> list[Result]:
        """A result for each question.

        The context of one question is a text, or a list of passages, the most relevant first; of a list of questions it is
        a text for all of them, or a list with an entry for each. Raises as `translate` does.
        """
        return self._all(AnswerRequest, pairs(question, context), options)

    @overload
    def answer_each(
        self, questions: Iterable[Question], *, on_error: Literal["raise"] = "raise", **options: Unpack[Options]
    ) -> Generator[Result]: ...
    @overload
    def answer_each(
        self, questions: Iterable[Question], *, on_error: OnError, **options: Unpack[Options]
    ) -> Generator[Result | Error]: ...
    def answer_each(
        self, questions: Iterable[Question], *, on_error: OnError = "raise", **options: Unpack[Options]
    ) -> Generator[Result | Error]:
        """As `translate_each`, of pairs of a question and its context."""
        return self._each(AnswerRequest, each(questions, on_error), options, on_error)

    def answer_stream(
        self, question: str, context: str | Sequence[str], **options: Unpack[Options]
    ) -> Generator[str | Result]:
        """As `translate_stream`."""
        return self._stream(AnswerRequest, (question, context), options)

    def _all(self, kind: type[TaskRequest], inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Result]:
        results = self._each(kind, inputs, options, "raise", len(inputs))
        with closing(results):
            return [result for result in results if isinstance(result, Result)]

    def _each(
        self,
        kind: type[TaskRequest],
        inputs: Iterable[Any],
        options: Mapping[str, Any],
        on_error: OnError,
        total: int | None = None,
    ) -> Generator[Any]:
        loaded, call = self._loaded, self._loaded.call(kind, options)
        # Its own to the end: a model is closed when nobody has it any more.
        return self._kept(in_order(partial(loaded.submit, call), inputs, loaded.most_at_a_time, on_error, total))

    def _kept(self, results: Generator[T]) -> Generator[T]:
        with closing(results):
            yield from results

    def _stream(self, kind: type[TaskRequest], given: object, options: Mapping[str, Any]) -> Generator[str | Result]:
        call = self._loaded.call(kind, options, streamed=True)

        def parts() -> Generator[str | Result]:
            news: SimpleQueue[str | Future[Result]] = SimpleQueue()
            future = self._loaded.submit(call, given, news.put)
            future.add_done_callback(news.put)
            try:
                while isinstance(part := news.get(), str):
                    if part:
                        yield part
                yield part.result()
            finally:
                future.cancel()

        return parts()


def _close_beside(loaded: Loaded) -> None:
    Thread(target=loaded.close).start()
