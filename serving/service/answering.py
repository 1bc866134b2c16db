"""One input through the engine: its window or windows generated from, and brought together to one result.

Translations of windows are joined, with what stands between them in the source; where several outputs are asked for, the
best of all windows, the second best of all, and so on. Summaries of windows are joined and summarized again, until they fit
into one window. An answer to a question is the one of highest score among those that the windows give. Windows are asked for
side by side, but a request never has more of them in the engine at a time than it may have inputs, so that a long text takes
no more of the queue than many short ones. Once one of them was answered, those that are still to come are not refused when
the queue is full, but wait (see line.py). When one fails, the others are cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TypeVar

from quant.card import Texts
from serving.engine.request import GeneratedSequence, Request
from serving.engine.request import Result as Generated
from serving.observability.requests import current_request
from serving.service.counting import AnswerCounts
from serving.service.errors import ErrorCode, ServiceError
from serving.service.models import ServedModel
from serving.service.news import InOrder, Tell
from serving.service.off_loop import off_loop
from serving.service.preparing import PreparedInput
from serving.service.results import Output, Result, Timings, Token, TruncationReport
from serving.service.side_by_side import side_by_side
from serving.service.sources import Sources
from serving.service.text import EncodedSource, TextCodec

T = TypeVar("T")

OFF_LOOP_TOKENS = 1000
"""Results of more tokens are made beside the loop: it takes over a millisecond."""


class Answering:
    """Answers the inputs of one request; made for it."""

    def __init__(
        self,
        model: ServedModel,
        metrics: AnswerCounts,
        most_at_a_time: int,
        read: Callable[[Texts], Awaitable[Sources]],
        waits: bool = False,
    ) -> None:
        """`read` makes sources of a further text, for the summaries of summaries.

        With `waits` the request is never refused because the queue is full: it waits for room from the start.
        """
        self._model = model
        self._metrics = metrics
        self._most_at_a_time = most_at_a_time
        self._places = asyncio.Semaphore(most_at_a_time)
        self._admitted = waits
        """Whether a window was answered, where that matters. Until then all that were asked for were so at once."""
        self._read = read

    async def answer(self, given: PreparedInput, tell: Tell | None = None) -> Result:
        """The result of one input, whose text `tell` is given in parts, as early as it is certain.

        Raises ServiceError (too_long) for summaries that do not get shorter, and what the engine raises.
        """
        task = self._model.checked.card.task
        if task == "translation":
            result = await self._joined(given, tell)
        elif len(given.sources.windows) == 1:
            (generated,) = await self._generate(given, tell)
            result = await self._made(given, [generated], lambda: _outputs(self._model.codec, given, generated))
        elif task == "question-answering":
            result = await self._best(given)
            if tell is not None:
                # Which window has the best answer shows at the end.
                tell(result.text)
        else:
            result = await self._summarized(given, tell)
        self._metrics.record_input(self._model.name, given.sources.applied)
        return result

    async def _joined(self, given: PreparedInput, tell: Tell | None) -> Result:
        codec = self._model.codec
        generated = await self._generate(given, tell)
        if tell is not None and not generated:
            tell(given.sources.after)

        def outputs() -> list[Output]:
            by_window = [_outputs(codec, given, each) for each in generated]
            ranks = range(given.parameters.num_return_sequences)
            return [_joined_output([outputs[rank] for outputs in by_window], given) for rank in ranks]

        return await self._made(given, generated, outputs)

    async def _best(self, given: PreparedInput) -> Result:
        scored = replace(given, parameters=replace(given.parameters, return_scores=True))
        generated = await self._generate(scored)
        best = max(range(len(generated)), key=lambda window: _score(generated[window]))
        result = await self._made(given, generated, lambda: _outputs(self._model.codec, given, generated[best]))
        report = result.truncation.model_copy(update={"answer_window": best + 1})
        return result.model_copy(update={"truncation": report})

    async def _summarized(self, given: PreparedInput, tell: Tell | None) -> Result:
        codec = self._model.codec
        generated = await self._generate(given)
        result = await self._made(given, generated, partial(_outputs, codec, given, generated[-1]))
        while (windows := len(given.sources.windows)) > 1:
            together = await _in_turn(generated, partial(self._texts, generated))
            given = replace(given, sources=await self._read({codec.long_field: together}))
            # Half as many each time bounds the work that a text can make.
            if len(given.sources.windows) > (windows + 1) // 2:
                message = f"the summaries of its {windows} windows are together too long to be summarized again: "
                raise ServiceError(ErrorCode.TOO_LONG, message + "ask for shorter ones with max_new_tokens, or split it")
            generated = await self._generate(given, tell if len(given.sources.windows) == 1 else None)
            result = _added(result, await self._made(given, generated, partial(_outputs, codec, given, generated[-1])))
        return result

    async def _made(self, given: PreparedInput, generated: list[Generated], outputs: Callable[[], list[Output]]) -> Result:
        return await _in_turn(generated, lambda: _result(self._model.codec, given, generated, outputs()))

    async def _generate(self, given: PreparedInput, tell: Tell | None = None) -> list[Generated]:
        """What the engine makes of each window; `tell` is given their texts joined."""
        sources = given.sources
        in_order = None if tell is None else InOrder(sources.before, sources.after, tell)

        async def answer(placed: tuple[int, EncodedSource]) -> Generated:
            place, window = placed
            request = Request(window.source_ids, given.parameters)
            async with self._places:
                ask: Callable[[], Awaitable[Generated]]
                if in_order is None:
                    ask = partial(self._model.engine.generate, request)
                else:
                    ask = partial(self._streamed, request, partial(in_order.tell, place))
                generated = await self._model.line.ask(ask, self._admitted)
                self._admitted = True
                if in_order is not None:
                    in_order.end(place)
            self._metrics.record_window(self._model.name, len(window.source_ids), generated)
            if (record := current_request()) is not None:
                record.add_window(len(window.source_ids), generated)
            return generated

        return await side_by_side(answer, list(enumerate(sources.windows)), self._most_at_a_time)

    async def _streamed(self, request: Request, tell: Tell) -> Generated:
        text = self._model.codec.stream()
        async with aclosing(self._model.engine.stream(request)) as items:
            async for item in items:
                if isinstance(item, Generated):
                    tell(text.end(self._text(item)))
                    return item
                tell(text.add(item))
        raise AssertionError("a stream of the engine ends with its result")

    def _texts(self, generated: Sequence[Generated]) -> str:
        return " ".join(map(self._text, generated))

    def _text(self, generated: Generated) -> str:
        return self._model.codec.decode(generated.sequences[0].token_ids)


async def _in_turn(generated: Sequence[Generated], work: Callable[[], T]) -> T:
    """What `work` makes of outputs, beside the loop where they are long."""
    tokens = sum(len(sequence.token_ids) for each in generated for sequence in each.sequences)
    return await off_loop(work) if tokens > OFF_LOOP_TOKENS else work()


def _result(codec: TextCodec, given: PreparedInput, windows: Sequence[Generated], outputs: Sequence[Output]) -> Result:
    """The outputs of an input, with the tokens and times of all its windows."""
    sources, parameters = given.sources, given.parameters
    generated = sum(len(sequence.token_ids) for window in windows for sequence in window.sequences[:1])
    return Result(
        **{**dict(outputs[0]), "generated_tokens": generated},
        source_tokens=sum(len(window.source_ids) for window in sources.windows),
        unknown_tokens=sum(window.unknown_tokens for window in sources.windows),
        timings=Timings(
            queue=max((window.queue_seconds for window in windows), default=0.0),
            encode=max((window.encode_seconds for window in windows), default=0.0),
            decode=max((window.decode_seconds for window in windows), default=0.0),
        ),
        truncation=TruncationReport(
            applied=sources.applied,
            windows=max(len(sources.windows), 1),
            source_tokens_total=sources.total_tokens,
            source_tokens_used=sources.used_tokens,
        ),
        seed=parameters.seed if parameters.do_sample else None,
        sequences=list(outputs) if len(outputs) > 1 else None,
    )


def _outputs(codec: TextCodec, given: PreparedInput, generated: Generated) -> list[Output]:
    return [_output(codec, sequence, given.parameters.return_scores) for sequence in generated.sequences]


def _joined_output(outputs: Sequence[Output], given: PreparedInput) -> Output:
    """The outputs of an input's windows as one, with what stands around them; its score is that of all their tokens."""
    sources, parameters = given.sources, given.parameters
    score = tokens = None
    if parameters.return_scores:
        tokens = [token for output in outputs for token in output.tokens or ()]
        total = sum(token.log_probability for token in tokens)
        score = outputs[0].score if len(outputs) == 1 else total / max(len(tokens), 1) ** parameters.length_penalty
    return Output(
        text=sources.joined([output.text for output in outputs]),
        generated_tokens=sum(output.generated_tokens for output in outputs),
        finish_reason="length" if any(output.finish_reason == "length" for output in outputs) else "eos",
        score=score,
        tokens=tokens,
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
            "unknown_tokens": first.unknown_tokens,
            "generated_tokens": first.generated_tokens + then.generated_tokens,
            "timings": Timings(**times),
            "truncation": first.truncation,
        }
    )


def _score(generated: Generated) -> float:
    score = generated.sequences[0].score
    assert score is not None, "scores were asked for"
    return score
