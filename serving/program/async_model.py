"""A loaded model for asyncio: `await model.aio.translate(…)`, on any event loop, a notebook's too.

Its work goes on beside the loop, as that of the plain model does, and cancelling who waits for it cancels it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from quant.errors import Error
from serving.program.calls import each, pairs
from serving.program.in_order import in_order_async
from serving.program.loaded import Loaded
from serving.program.options import OnError, Options, Question, TranslateOptions
from serving.service.inputs import listed
from serving.service.requests import AnswerRequest, SummarizeRequest, TaskRequest, TranslateRequest
from serving.service.results import Result

if TYPE_CHECKING:
    from serving.program.model import Model


class AsyncModel:
    """The methods of a `Model`, awaited. Inputs may come from async iterators, too."""

    def __init__(self, model: Model, loaded: Loaded) -> None:
        self._model = model
        """Which is not closed as long as somebody has this."""
        self._loaded = loaded

    async def translate(self, texts: str | Iterable[str], **options: Unpack[TranslateOptions]) -> list[Result]:
        return await self._all(TranslateRequest, listed(texts), options)

    @overload
    def translate_each(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        on_error: Literal["raise"] = "raise",
        **options: Unpack[TranslateOptions],
    ) -> AsyncGenerator[Result]: ...
    @overload
    def translate_each(
        self, texts: Iterable[str] | AsyncIterable[str], *, on_error: OnError, **options: Unpack[TranslateOptions]
    ) -> AsyncGenerator[Result | Error]: ...
    def translate_each(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        on_error: OnError = "raise",
        **options: Unpack[TranslateOptions],
    ) -> AsyncGenerator[Result | Error]:
        return self._each(TranslateRequest, each(texts, on_error), options, on_error)

    def translate_stream(self, text: str, **options: Unpack[TranslateOptions]) -> AsyncGenerator[str | Result]:
        return self._stream(TranslateRequest, text, options)

    async def summarize(self, texts: str | Iterable[str], **options: Unpack[Options]) -> list[Result]:
        return await self._all(SummarizeRequest, listed(texts), options)

    @overload
    def summarize_each(
        self, texts: Iterable[str] | AsyncIterable[str], *, on_error: Literal["raise"] = "raise", **options: Unpack[Options]
    ) -> AsyncGenerator[Result]: ...
    @overload
    def summarize_each(
        self, texts: Iterable[str] | AsyncIterable[str], *, on_error: OnError, **options: Unpack[Options]
    ) -> AsyncGenerator[Result | Error]: ...
    def summarize_each(
        self, texts: Iterable[str] | AsyncIterable[str], *, on_error: OnError = "raise", **options: Unpack[Options]
    ) -> AsyncGenerator[Result | Error]:
        return self._each(SummarizeRequest, each(texts, on_error), options, on_error)

    def summarize_stream(self, text: str, **options: Unpack[Options]) -> AsyncGenerator[str | Result]:
        return self._stream(SummarizeRequest, text, options)

    async def answer(
        self, question: str | Sequence[str], context: str | Sequence[str | Sequence[str]], **options: Unpack[Options]
    ) -> list[Result]:
        return await self._all(AnswerRequest, pairs(question, context), options)

    @overload
    def answer_each(
        self,
        questions: Iterable[Question] | AsyncIterable[Question],
        *,
        on_error: Literal["raise"] = "raise",
        **options: Unpack[Options],
    ) -> AsyncGenerator[Result]: ...
    @overload
    def answer_each(
        self, questions: Iterable[Question] | AsyncIterable[Question], *, on_error: OnError, **options: Unpack[Options]
    ) -> AsyncGenerator[Result | Error]: ...
    def answer_each(
        self,
        questions: Iterable[Question] | AsyncIterable[Question],
        *,
        on_error: OnError = "raise",
        **options: Unpack[Options],
    ) -> AsyncGenerator[Result | Error]:
        return self._each(AnswerRequest, each(questions, on_error), options, on_error)

    def answer_stream(
        self, question: str, context: str | Sequence[str], **options: Unpack[Options]
    ) -> AsyncGenerator[str | Result]:
        return self._stream(AnswerRequest, (question, context), options)

    async def _all(self, kind: type[TaskRequest], inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Result]:
        async with aclosing(self._each(kind, inputs, options, "raise", len(inputs))) as results:
            return [result async for result in results]

    def _each(
        self,
        kind: type[TaskRequest],
        inputs: Iterable[Any] | AsyncIterable[Any],
        options: Mapping[str, Any],
        on_error: OnError,
        total: int | None = None,
    ) -> AsyncGenerator[Any]:
        call = self._loaded.call(kind, options)

        def submit(given: Any) -> asyncio.Future[Result]:
            return asyncio.wrap_future(self._loaded.submit(call, given))

        async def results() -> AsyncGenerator[Result | Error]:
            answers = in_order_async(submit, inputs, self._loaded.most_at_a_time, on_error, total)
            async with aclosing(answers):
                async for answer in answers:
                    yield answer

        return results()

    def _stream(self, kind: type[TaskRequest], given: object, options: Mapping[str, Any]) -> AsyncGenerator[str | Result]:
        call = self._loaded.call(kind, options, streamed=True)

        async def parts() -> AsyncGenerator[str | Result]:
            loop = asyncio.get_running_loop()
            news: asyncio.Queue[str | Future[Result]] = asyncio.Queue()

            def tell(part: str | Future[Result]) -> None:
                loop.call_soon_threadsafe(news.put_nowait, part)

            future = self._loaded.submit(call, given, tell)
            future.add_done_callback(tell)
            try:
                while isinstance(part := await news.get(), str):
                    if part:
                        yield part
                yield part.result()
            finally:
                future.cancel()

        return parts()
