"""One input through the engine: its window or windows generated from, and brought together to one result.

Translations of windows are joined. Summaries of windows are joined and summarized again, until they fit into one window.
An answer to a question is the one of highest score among those that the windows give. Windows are asked for side by side,
but a request never has more of them in the engine at a time than it may have inputs, so that a long text takes no more of
the queue than many short ones. When one fails, the others are cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from quant.card import Task
from serving.engine.request import GeneratedSequence, GenerationParameters, Request
from serving.engine.request import Result as Generated
from serving.observability.metrics import Metrics
from serving.service.errors import ErrorCode, ServiceError
from serving.service.generation import refused
from serving.service.messages import Output, Result, Timings, Token, TruncationReport
from serving.service.models import ServedModel
from serving.service.sources import Sources
from serving.service.text import EncodedSource, TextCodec

T = TypeVar("T")


@dataclass(frozen=True)
class PreparedInput:
    """An input as it goes to the engine."""

    sources: Sources
    parameters: GenerationParameters


def prepare(sources: Sources, parameters: GenerationParameters, task: Task) -> PreparedInput:
    """Raises ServiceError (bad_parameter) for parameters that mean nothing for an output made of several windows."""
    windows = len(sources.windows)
    if windows > 1 and task != "question-answering":
        if parameters.num_return_sequences > 1:
            message = f"{parameters.num_return_sequences}: of an input answered in {windows} windows there is one output"
            raise refused("num_return_sequences", message)
        if parameters.return_scores:
            raise refused("return_scores", f"true: an output made of those of {windows} windows has no score")
    return PreparedInput(sources, parameters)


class Answering:
    """Answers the inputs of one request; made for it."""

    def __init__(
        self,
        model: ServedModel,
        metrics: Metrics,
        most_at_a_time: int,
        read: Callable[[Mapping[str, str]], Awaitable[Sources]],
    ) -> None:
        """`read` makes sources of a further text, for the summaries of summaries."""
        self._model = model
        self._metrics = metrics
        self._places = asyncio.Semaphore(most_at_a_time)
        self._read = read

    async def answer(self, given: PreparedInput) -> Result:
        """Raises ServiceError (too_long) for summaries that do not get shorter, and what the engine raises."""
        task = self._model.checked.card.task
        if len(given.sources.windows) == 1:
            (generated,) = await self._generate(given)
            result = _result(self._model.codec, given, [generated], generated)
        elif task == "question-answering":
            result = await self._best(given)
        elif task == "summarization":
            result = await self._summarized(given)
        else:
            result = await self._joined(given)
        self._metrics.record_input(self._model.name, given.sources.applied)
        return result

    async def _joined(self, given: PreparedInput) -> Result:
        generated = await self._generate(given)
        outputs = [self._text(each) for each in generated]
        joined = "".join(f"{before}{text}" for before, text in zip(given.sources.separators, outputs, strict=True) if text)
        cut = any(each.sequences[0].finish_reason == "length" for each in generated)
        last = _result(self._model.codec, given, generated, generated[-1])
        return last.model_copy(update={"text": joined.strip(), "finish_reason": "length" if cut else "eos"})

    async def _best(self, given: PreparedInput) -> Result:
        scored = replace(given, parameters=replace(given.parameters, return_scores=True))
        generated = await self._generate(scored)
        best = max(range(len(generated)), key=lambda window: _score(generated[window]))
        result = _result(self._model.codec, given, generated, generated[best])
        report = result.truncation.model_copy(update={"answer_window": best + 1})
        return result.model_copy(update={"truncation": report})

    async def _summarized(self, given: PreparedInput) -> Result:
        generated = await self._generate(given)
        result = _result(self._model.codec, given, generated, generated[-1])
        while (windows := len(given.sources.windows)) > 1:
            joined = " ".join(map(self._text, generated))
            given = replace(given, sources=await self._read({self._model.codec.long_field: joined}))
            # Half as many each time bounds the work that a text can make.
            if len(given.sources.windows) > (windows + 1) // 2:
                message = f"the summaries of its {windows} windows are together too long to be summarized again: "
                raise ServiceError(ErrorCode.TOO_LONG, message + "ask for shorter ones with max_new_tokens, or split it")
            generated = await self._generate(given)
            result = _added(result, _result(self._model.codec, given, generated, generated[-1]))
        return result

    async def _generate(self, given: PreparedInput) -> list[Generated]:
        return await all_or_none(self._generate_one(window, given.parameters) for window in given.sources.windows)

    async def _generate_one(self, window: EncodedSource, parameters: GenerationParameters) -> Generated:
        async with self._places:
            generated = await self._model.engine.generate(Request(window.source_ids, parameters))
        self._metrics.record_window(self._model.name, len(window.source_ids), generated)
        return generated

    def _text(self, generated: Generated) -> str:
        return self._model.codec.decode(generated.sequences[0].token_ids)


async def all_or_none(work: Iterable[Awaitable[T]]) -> list[T]:
    """What all of `work` gives, in its order, done side by side; at the first fault the rest is cancelled."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _result(codec: TextCodec, given: PreparedInput, windows: Sequence[Generated], chosen: Generated) -> Result:
    """The chosen window's outputs, with the tokens and times of all windows."""
    sources, parameters = given.sources, given.parameters
    outputs = [_output(codec, sequence, parameters.return_scores) for sequence in chosen.sequences]
    generated = sum(len(sequence.token_ids) for window in windows for sequence in window.sequences[:1])
    return Result(
        **{**dict(outputs[0]), "generated_tokens": generated},
        source_tokens=sum(len(window.source_ids) for window in sources.windows),
        timings=Timings(
            queue=max(window.queue_seconds for window in windows),
            encode=max(window.encode_seconds for window in windows),
            decode=max(window.decode_seconds for window in windows),
        ),
        truncation=TruncationReport(
            applied=sources.applied,
            windows=len(sources.windows),
            source_tokens_total=sources.total_tokens,
            source_tokens_used=sources.used_tokens,
        ),
        seed=parameters.seed if parameters.do_sample else None,
        sequences=outputs if len(outputs) > 1 else None,
    )


def _output(codec: TextCodec, sequence: GeneratedSequence, scored: bool) -> Output:
    tokens = None
    if scored and sequence.token_log_probabilities is not None:
        tokens = [
            Token(id=token_id, token=codec.spelling(token_id), log_probability=log_probability)
            for token_id, log_probability in zip(sequence.token_ids, sequence.token_log_probabilities, strict=True)
        ]
    return Output(
        text=codec.decode(sequence.token_ids),
        generated_tokens=len(sequence.token_ids),
        finish_reason=sequence.finish_reason,
        score=sequence.score if scored else None,
        tokens=tokens,
    )


def _added(first: Result, then: Result) -> Result:
    """A later pass's output, with the tokens and times of the earlier ones added to its own."""
    times = {name: seconds + getattr(then.timings, name) for name, seconds in first.timings}
    return then.model_copy(
        update={
            "source_tokens": first.source_tokens + then.source_tokens,
            "generated_tokens": first.generated_tokens + then.generated_tokens,
            "timings": Timings(**times),
            "truncation": first.truncation,
        }
    )


def _score(generated: Generated) -> float:
    score = generated.sequences[0].score
    assert score is not None, "scores were asked for"
    return score
