"""How windows become one result, over an engine that repeats its source, or a part of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from serving.engine.errors import EngineFull
from serving.engine.request import FinishReason, GeneratedSequence, Request
from serving.engine.request import Result as Generated
from serving.observability.metrics import Metrics
from serving.service.answering import Answering
from serving.service.errors import ErrorCode, ServiceError
from serving.service.models import ServedModel, check_model
from serving.service.preparing import MAX_SCORED_TOKENS, check_scores, prepare
from serving.service.requests import GenerationParameters
from serving.service.results import Result
from serving.service.sources import SourceReader, Sources

SENTENCES = ["guten morgen", "wie geht es dir", "guten morgen welt", "wie geht es", "good morning", "how are you"]


class Repeating:
    """Answers with the source's ids between its first and last, `most` of them at most, and an end token."""

    alive = True

    def __init__(self, most: int = 1000, score: Callable[[tuple[int, ...]], float] = lambda ids: -1.0) -> None:
        self.most = most
        self.score = score
        self.requests: list[Request] = []
        self.running = 0
        self.most_running = 0

    async def generate(self, request: Request) -> Generated:
        self.requests.append(request)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        ids = (*request.source_ids[1:-1][: self.most], 2)
        scored = request.parameters.return_scores
        sequence = GeneratedSequence(
            ids, "eos", self.score(ids) if scored else None, tuple(-0.5 for _ in ids) if scored else None
        )
        seconds = float(len(self.requests))
        return Generated((sequence,) * request.parameters.num_return_sequences, seconds, 0.5, 0.25)


class Rig:
    """A tiny model with an engine of one's choice."""

    def __init__(self, folder: Path, engine: Any, metrics: Metrics) -> None:
        self.model = ServedModel(check_model("m", folder, 8), check_model("m", folder, 8).codec(), engine)
        self.metrics = metrics

    def answer(self, texts: Mapping[str, str], most_at_a_time: int = 8, **parameters: Any) -> Result:
        checked = self.model.checked
        # In English a sentence may begin with a small letter; the vocabulary has no others.
        languages = ("en_XX", "de_DE") if checked.card.task == "translation" else (None, None)
        reader = SourceReader(self.model.codec, checked.card.task, *languages, "chunk", 50)

        async def read(texts: Mapping[str, str]) -> Sources:
            return reader.read(texts)

        async def answer() -> Result:
            sources = reader.read(texts)
            resolved = checked.defaults.resolve(GenerationParameters(**parameters), reader.nothing(), 8)
            answering = Answering(self.model, self.metrics, most_at_a_time, read)
            return await answering.answer(prepare(sources, resolved, checked.card.task))

        return asyncio.run(answer())


@pytest.fixture
def rig(artifacts: dict[str, Path]) -> Callable[..., Rig]:
    return lambda name, engine: Rig(artifacts[name], engine, Metrics())


def counted(rig: Rig) -> list[str]:
    return [line for line in rig.metrics.page().decode().splitlines() if "_total{" in line]


def test_one_window_is_answered_as_it_is(rig: Any) -> None:
    result = rig("translator", Repeating()).answer({"source": "guten morgen"})
    assert (result.text, result.finish_reason, result.score, result.tokens, result.sequences) == (
        "guten morgen",
        "eos",
        None,
        None,
        None,
    )
    assert (result.truncation.applied, result.truncation.windows, result.truncation.answer_window) == ("none", 1, None)


def test_translated_windows_are_joined_with_the_paragraphs_of_the_source(rig: Any) -> None:
    engine = Repeating()
    translator = rig("translator", engine)
    result = translator.answer({"source": f"{'. '.join(SENTENCES[:3])}.\n\n{'. '.join(SENTENCES[3:])}."})
    assert result.text == f"{' '.join(SENTENCES[:3])}\n\n{' '.join(SENTENCES[3:])}"
    assert (result.truncation.applied, result.truncation.windows) == ("chunk", 6)
    assert result.source_tokens == sum(len(request.source_ids) for request in engine.requests)
    assert result.generated_tokens == result.source_tokens - 6
    assert result.source_tokens > result.truncation.source_tokens_total > 48
    # Side by side: the longest wait, not the sum.
    assert (result.timings.queue, result.timings.encode) == (6.0, 0.5)
    assert f'dqbart_source_tokens_total{{model="m"}} {result.source_tokens}.0' in counted(translator)
    assert 'dqbart_inputs_total{model="m"} 1.0' in counted(translator)
    assert 'dqbart_truncated_inputs_total{model="m",truncation="chunk"} 1.0' in counted(translator)


def test_a_joined_translation_was_cut_when_one_window_was(rig: Any) -> None:
    class Cutting(Repeating):
        async def generate(self, request: Request) -> Generated:
            result = await super().generate(request)
            reason: FinishReason = "length" if request is self.requests[1] else "eos"
            sequence = GeneratedSequence(result.sequences[0].token_ids, reason)
            return Generated((sequence,), 0.0, 0.0, 0.0)

    assert rig("translator", Cutting()).answer({"source": ". ".join(SENTENCES)}).finish_reason == "length"


def test_windows_of_a_request_wait_for_each_other_beyond_its_share(rig: Any) -> None:
    engine = Repeating()
    rig("translator", engine).answer({"source": ". ".join(SENTENCES)}, most_at_a_time=2)
    assert (engine.most_running, len(engine.requests)) == (2, 6)


def test_draws_of_all_windows_have_the_seed_that_is_told(rig: Any) -> None:
    engine = Repeating()
    result = rig("translator", engine).answer({"source": ". ".join(SENTENCES)}, do_sample=True)
    assert {request.parameters.seed for request in engine.requests} == {result.seed}


def test_summaries_are_summarized_until_they_fit(rig: Any) -> None:
    engine = Repeating(most=8)
    source = ". ".join(SENTENCES * 6)
    result = rig("summarizer", engine).answer({"source": source})
    first = result.truncation.windows
    lengths = [len(request.source_ids) for request in engine.requests]
    # Each window gives 8 tokens and each pass fits 46 of them at most, so that three passes are needed.
    assert first > 5
    assert len(lengths) > first + 2
    assert max(lengths) <= 48
    assert result.generated_tokens == 9 * len(lengths)
    assert result.source_tokens == sum(lengths)
    # Passes follow each other, windows of a pass do not.
    assert result.timings.encode == pytest.approx(0.5 * 3)
    last = engine.requests[-1].source_ids
    assert result.text == rig("summarizer", engine).model.codec.decode(last[1:9])


def test_summaries_that_do_not_get_shorter_are_refused(rig: Any) -> None:
    engine = Repeating()
    with pytest.raises(ServiceError, match=r"the summaries of its \d+ windows are together too long") as refused:
        rig("summarizer", engine).answer({"source": ". ".join(SENTENCES * 6)})
    assert refused.value.code == ErrorCode.TOO_LONG
    assert "max_new_tokens" in refused.value.message


QUESTION = {"question": "who", "context": "she wrote it. how are you. who wrote the book. good morning world. how are you."}


def test_the_answer_of_highest_score_is_taken(rig: Any) -> None:
    engine = Repeating()
    answerer = rig("answerer", engine)
    assert answerer.answer(QUESTION).truncation.windows >= 3
    windows = [request.source_ids for request in engine.requests]
    engine = Repeating(score=lambda ids: 0.0 if ids[:-1] == windows[1][1:-1] else -1.0)
    result = rig("answerer", engine).answer(QUESTION)
    assert result.truncation.answer_window == 2
    assert result.text == answerer.model.codec.decode(windows[1][1:-1])
    assert (result.score, result.tokens) == (None, None)
    asked = rig("answerer", engine).answer(QUESTION, return_scores=True, num_return_sequences=2)
    assert (asked.text, asked.score) == (result.text, 0.0)
    assert asked.sequences is not None
    assert [output.text for output in asked.sequences] == [result.text] * 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"num_return_sequences": 2}, r"num_return_sequences = 2: of an input answered in \d windows there is one output"),
        ({"return_scores": True}, r"return_scores = true: an output made of those of \d windows has no score"),
    ],
)
def test_what_a_summary_of_several_windows_cannot_have_is_refused(
    rig: Any, parameters: dict[str, Any], message: str
) -> None:
    engine = Repeating()
    with pytest.raises(ServiceError, match=message) as refused:
        rig("summarizer", engine).answer({"source": ". ".join(SENTENCES)}, **parameters)
    assert (refused.value.code, engine.requests) == (ErrorCode.BAD_PARAMETER, [])
    rig("summarizer", engine).answer({"source": "guten morgen"}, **parameters)


def test_several_outputs_of_windows_are_joined_rank_by_rank(rig: Any) -> None:
    class Ranking(Repeating):
        async def generate(self, request: Request) -> Generated:
            result = await super().generate(request)
            first = result.sequences[0]
            second = GeneratedSequence(first.token_ids[-2:], "length", -3.0, (-2.0, -1.0))
            return Generated((first, second), 0.0, 0.0, 0.0)

    asked = {"num_return_sequences": 2, "return_scores": True, "length_penalty": 0.5}
    result = rig("translator", Ranking()).answer({"source": "\n- good morning\n- how are you 😊"}, **asked)
    assert result.sequences is not None
    best, second = result.sequences
    assert (result.text, best.text) == ("\n- good morning\n- how are you 😊",) * 2
    assert (best.finish_reason, second.finish_reason) == ("eos", "length")
    assert second.text.startswith("\n- ")
    assert second.text.endswith(" 😊")
    assert best.tokens is not None
    # The formula of one output, over the tokens of both windows.
    assert best.score == pytest.approx(-0.5 * len(best.tokens) / len(best.tokens) ** 0.5)
    assert second.score == pytest.approx(-6.0 / 4**0.5)


def test_a_text_without_a_sentence_is_its_own_translation(rig: Any) -> None:
    engine = Repeating()
    result = rig("translator", engine).answer({"source": " 42 😊\n"}, num_return_sequences=2, return_scores=True)
    assert (result.text, result.score, result.tokens, engine.requests) == (" 42 😊\n", 0.0, [], [])
    assert (result.source_tokens, result.generated_tokens, result.truncation.windows) == (0, 0, 1)
    assert result.sequences is not None
    assert [each.text for each in result.sequences] == [" 42 😊\n"] * 2


def test_unknown_tokens_of_all_windows_are_told(rig: Any) -> None:
    assert rig("translator", Repeating()).answer({"source": "good q\ngood morning\nhow z are"}).unknown_tokens == 2


def test_scores_and_tokens_are_told_when_asked_for(rig: Any) -> None:
    result = rig("translator", Repeating()).answer({"source": "guten morgen"}, return_scores=True, num_return_sequences=2)
    assert result.tokens is not None
    assert (result.score, len(result.tokens)) == (-1.0, result.generated_tokens)
    assert (result.tokens[-1].id, result.tokens[-1].token, result.tokens[-1].log_probability) == (2, "</s>", -0.5)
    assert result.sequences is not None
    assert [(output.text, output.score, output.tokens) for output in result.sequences] == [
        ("guten morgen", -1.0, result.tokens)
    ] * 2


def test_a_window_that_finds_the_queue_full_cancels_the_others(rig: Any) -> None:
    class Full(Repeating):
        cancelled = 0

        async def generate(self, request: Request) -> Generated:
            self.requests.append(request)
            if len(self.requests) == 3:
                raise EngineFull("full")
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            raise AssertionError("the window was not cancelled")

    engine = Full()
    with pytest.raises(EngineFull):
        rig("translator", engine).answer({"source": ". ".join(SENTENCES)})
    # All but the third of six.
    assert engine.cancelled == 5


def test_no_more_tokens_are_told_with_their_scores_than_a_response_may_have(artifacts: dict[str, Path]) -> None:
    model = check_model("translator", artifacts["translator"], 8)
    reader = SourceReader(model.codec(), "translation", "de_DE", "en_XX", "error", 20)
    sources = reader.read({"source": SENTENCES[0]})
    length = model.defaults.most_new_tokens

    def prepared(**asked: Any) -> Any:
        parameters = GenerationParameters(max_new_tokens=length, **asked)
        return prepare(sources, model.defaults.resolve(parameters, sources.windows[0], 8), "translation")

    scored = prepared(return_scores=True, num_beams=4, num_return_sequences=4)
    fitting = MAX_SCORED_TOKENS // (4 * length)
    check_scores([scored] * fitting, "translation")
    check_scores([prepared()] * 100_000, "translation")
    with pytest.raises(ServiceError, match="may be generated, and 65536 at most") as refused:
        check_scores([scored] * (fitting + 1), "translation")
    assert (refused.value.code, refused.value.field) == (ErrorCode.BAD_PARAMETER, "parameters.return_scores")
