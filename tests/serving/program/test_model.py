from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dqbart import Error, ErrorCode, InvalidSettings, Model, ModelError, Result, ServiceError, load
from serving.program.options import Parameters
from serving.service.requests import GenerationParameters

TEXTS = ["guten morgen", "wie geht es dir", "guten morgen welt. Wie geht es dir.", "welt"]
DE_EN: Any = {"source": "de", "target": "en"}
PATIENCE = 60


def texts(results: list[Result]) -> list[str]:
    return [result.text for result in results]


def until(holds: Callable[[], bool]) -> None:
    for _ in range(PATIENCE * 100):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came to be so")


def at_work(model: Model) -> int:
    stats = model._loaded.served.engine.stats()  # type: ignore[attr-defined]
    return int(stats.queued_requests + stats.running_requests)


def test_parameters_have_the_names_of_a_requests() -> None:
    assert Parameters.__annotations__.keys() == GenerationParameters.model_fields.keys()


def test_what_a_model_says_of_itself(translator: Model) -> None:
    assert (translator.name, translator.task) == ("translator", "translation")
    assert repr(translator) == "<Model translator, translation>"
    assert translator.description.languages == ["de_DE", "en_XX"]
    assert translator.description.defaults.num_beams == 2


def test_each_text_has_its_result(translator: Model) -> None:
    results = translator.translate(TEXTS, **DE_EN)
    alone = [translator.translate(text, **DE_EN)[0].text for text in TEXTS]
    assert texts(results) == alone
    assert results[2].truncation.windows == 2
    assert translator.translate([], **DE_EN) == []


def test_more_texts_than_the_queue_has_room_for_wait(translator: Model) -> None:
    many = TEXTS * 30
    assert texts(translator.translate(iter(many), **DE_EN)) == texts(translator.translate(TEXTS, **DE_EN)) * 30


def test_an_iterator_of_texts_is_read_while_results_are_taken(translator: Model) -> None:
    read = []

    def given() -> Iterator[str]:
        for number in range(1000):
            read.append(number)
            yield TEXTS[number % len(TEXTS)]

    results = translator.translate_each(given(), **DE_EN)
    first = [next(results).text for _ in range(4)]
    assert first == texts(translator.translate(TEXTS, **DE_EN))
    assert len(read) < 100
    results.close()
    until(lambda: at_work(translator) == 0)


def test_parameters_mean_what_they_mean_in_requests(translator: Model) -> None:
    (result,) = translator.translate(
        "guten morgen", **DE_EN, do_sample=True, seed=7, num_return_sequences=2, return_scores=True, max_new_tokens=5
    )
    assert result.seed == 7
    assert len(result.sequences or ()) == 2
    assert result.score is not None
    assert translator.translate("guten morgen", **DE_EN, do_sample=True, seed=7, max_new_tokens=5)[0].text == result.text


def test_a_summary_and_its_truncation(summarizer: Model) -> None:
    long = "who wrote the book. she wrote it. " * 20
    with pytest.raises(ServiceError, match="the model reads 48 at most") as error:
        summarizer.summarize([long])
    assert error.value.code is ErrorCode.TOO_LONG
    assert summarizer.summarize([long], truncation="end")[0].truncation.applied == "end"
    assert summarizer.summarize([long], truncation="chunk", max_new_tokens=4)[0].truncation.windows > 1


def test_answers_from_one_context_passages_and_a_context_each(answerer: Model) -> None:
    one = answerer.answer("who wrote the book", "she wrote it")
    assert texts(answerer.answer(["who wrote the book"], ["she wrote it"])) == texts(one)
    assert texts(answerer.answer(["who wrote the book"] * 2, "she wrote it")) == texts(one) * 2
    passages = answerer.answer("who", ["she wrote it", "how"])
    pairs = [("who wrote the book", "she wrote it"), ("who", ("she wrote it", "how"))]
    assert texts(list(answerer.answer_each(pairs))) == texts([*one, *passages])
    with pytest.raises(ServiceError, match="2 questions and 1 contexts"):
        answerer.answer(["a", "b"], ["c"])


@pytest.mark.parametrize("wrong", ["who", ("who",), (["who"], "she"), ("who", 3), ("who", [["she"]]), None])
def test_what_is_no_question_with_its_context_is_told_in_its_place(answerer: Model, wrong: Any) -> None:
    good = ("who wrote the book", "she wrote it")
    first, fault, last = answerer.answer_each([good, wrong, good], on_error="return")
    assert isinstance(fault, ServiceError)
    assert fault.code is ErrorCode.BAD_PARAMETER
    assert isinstance(first, Result)
    assert isinstance(last, Result)


def test_a_text_at_fault_is_told_in_its_place(translator: Model) -> None:
    given: Any = ["guten morgen", "", 3, None, ["welt"], "a\0b", "welt"]
    results = list(translator.translate_each(given, **DE_EN, on_error="return"))
    assert [isinstance(each, Error) for each in results] == [False, True, True, True, True, True, False]
    assert [str(each) for each in results if isinstance(each, Error)] == [
        "the source is empty",
        "text: should be a valid string",
        "text: should be a valid string",
        "\"['welt']\": a text is expected",
        "text: a NUL character is no text",
    ]


def test_the_first_fault_is_raised_with_its_place(translator: Model) -> None:
    with pytest.raises(ServiceError, match=r"^input 2 of 3: the source is empty$"):
        translator.translate(["welt", "", "welt"], **DE_EN)
    results = translator.translate_each(iter(["welt", " "]), **DE_EN)
    next(results)
    with pytest.raises(ServiceError, match=r"^input 2: the source is empty$"):
        next(results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "xx", "target": "en"}, "source_language = 'xx' is unknown"),
        ({**DE_EN, "num_beams": 9}, "num_beams = 9: 8 at most"),
        ({**DE_EN, "num_beams": "2"}, "parameters.num_beams: should be a valid integer"),
        ({**DE_EN, "beams": 2}, "parameters.beams: unknown field"),
        ({"source_language": "de"}, "source_language: here that is source"),
        ({**DE_EN, "truncation": "cut"}, "truncation: should be 'error', 'end' or 'chunk'"),
    ],
)
def test_what_is_wrong_with_a_call_is_raised_by_it_and_for_no_text(
    translator: Model, options: dict[str, Any], message: str
) -> None:
    for call in (translator.translate_each, translator.aio.translate_each):
        with pytest.raises(ServiceError, match=message):
            call(["welt"], **options)
    with pytest.raises(ServiceError, match=message):
        translator.translate_stream("welt", **options)


def test_an_iterator_is_not_made_of_the_letters_of_a_text(translator: Model) -> None:
    for call in (translator.translate_each, translator.aio.translate_each):
        with pytest.raises(ServiceError, match="'welt' is one text: an iterable of them is expected"):
            call("welt", **DE_EN)


def test_what_becomes_of_errors_is_one_of_two(translator: Model) -> None:
    for call in (translator.translate_each, translator.aio.translate_each):
        with pytest.raises(ServiceError, match="on_error is 'skip': raise or return is expected"):
            call(["welt"], on_error="skip", **DE_EN)


def test_a_summary_has_no_languages(summarizer: Model) -> None:
    with pytest.raises(ServiceError, match=r"parameters\.source: unknown field"):
        summarizer.summarize("she wrote it", source="de")  # type: ignore[call-arg]
    with pytest.raises(ServiceError, match=r"parameters\.source_language: unknown field"):
        summarizer.summarize("she wrote it", source_language="de")  # type: ignore[call-arg]


def test_a_model_of_another_task_says_so(translator: Model) -> None:
    with pytest.raises(ServiceError, match=r"^translator does translation, not summarization$") as error:
        translator.summarize("welt")
    assert error.value.code is ErrorCode.WRONG_TASK


@pytest.mark.parametrize(
    ("name", "fault"),
    [("absent", "does not exist"), ("file", "is no folder"), ("empty", r".config\.json is missing")],
)
def test_what_is_no_artifact_is_named(tmp_path: Path, name: str, fault: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("{}")
    with pytest.raises(ModelError, match=f"{name} ?{fault}") as error:
        load(tmp_path / name)
    assert isinstance(error.value, Error)


def test_settings_that_cannot_hold_are_named(artifacts: dict[str, Path], translator: Model) -> None:
    with pytest.raises(InvalidSettings, match="max_batch_rows is 0"):
        load(artifacts["translator"], max_batch_rows=0)
    with pytest.raises(ModelError, match="2 beams is above max_batch_rows = 1"):
        load(artifacts["translator"], max_batch_rows=1)
    with pytest.raises(InvalidSettings, match="threads is 0, a whole number of at least 1 is expected"):
        load(artifacts["translator"], threads=0)
    with pytest.raises(InvalidSettings, match="runner is 'gpu', one of auto, cuda, native, pytorch is expected"):
        load(artifacts["translator"], runner="gpu")  # type: ignore[arg-type]
    with pytest.raises(InvalidSettings, match="threads is 64, and the models that are loaded already share"):
        load(artifacts["translator"], threads=64)
    with pytest.raises(InvalidSettings, match="max_cache_bytes is 5, and the models that are loaded already share"):
        load(artifacts["translator"], max_cache_bytes=5)


def test_a_stream_tells_its_text_in_parts_and_its_result_at_last(
    translator: Model, summarizer: Model, answerer: Model
) -> None:
    streams = [
        (translator.translate_stream(TEXTS[2], **DE_EN), translator.translate(TEXTS[2], **DE_EN)),
        (summarizer.summarize_stream("she wrote it"), summarizer.summarize("she wrote it")),
        (answerer.answer_stream("who", ["she wrote it"]), answerer.answer("who", ["she wrote it"])),
    ]
    for stream, (expected,) in streams:
        *parts, result = stream
        assert isinstance(result, Result)
        assert "".join(str(part) for part in parts) == result.text == expected.text
    with pytest.raises(ServiceError, match="of a streamed input there is one output"):
        translator.translate_stream("welt", **DE_EN, num_return_sequences=2)
    stream = translator.translate_stream("", **DE_EN)
    with pytest.raises(ServiceError, match="the source is empty"):
        next(stream)


def test_leaving_a_stream_cancels_it(translator: Model) -> None:
    stream = translator.translate_stream("guten morgen. " * 50, **DE_EN)
    next(stream)
    stream.close()
    until(lambda: at_work(translator) == 0)


def test_the_same_for_asyncio(translator: Model, summarizer: Model, answerer: Model) -> None:
    async def ask() -> None:
        assert texts(await translator.aio.translate(TEXTS, **DE_EN)) == texts(translator.translate(TEXTS, **DE_EN))
        assert texts(await summarizer.aio.summarize("she wrote it")) == texts(summarizer.summarize("she wrote it"))
        assert texts(await answerer.aio.answer("who", "she")) == texts(answerer.answer("who", "she"))
        summaries = [each.text async for each in summarizer.aio.summarize_each(TEXTS)]
        assert summaries == texts(summarizer.summarize(TEXTS))
        pairs = [("who", "she wrote it")] * 3
        assert [each.text async for each in answerer.aio.answer_each(pairs)] == texts(list(answerer.answer_each(pairs)))

    asyncio.run(ask())


def test_streams_for_asyncio(translator: Model, summarizer: Model, answerer: Model) -> None:
    async def ask() -> None:
        for stream, (expected,) in [
            (translator.aio.translate_stream(TEXTS[2], **DE_EN), translator.translate(TEXTS[2], **DE_EN)),
            (summarizer.aio.summarize_stream("she wrote it"), summarizer.summarize("she wrote it")),
            (answerer.aio.answer_stream("who", "she"), answerer.answer("who", "she")),
        ]:
            *parts, result = [part async for part in stream]
            assert "".join(str(part) for part in parts) == expected.text
            assert isinstance(result, Result)

    asyncio.run(ask())


def test_a_plain_call_within_a_running_loop_is_answered_as_in_a_notebook(translator: Model) -> None:
    async def cell() -> list[Result]:
        return translator.translate("welt", **DE_EN)

    assert texts(asyncio.run(cell())) == texts(translator.translate("welt", **DE_EN))


def test_cancelling_who_waits_cancels_the_work(translator: Model) -> None:
    async def ask() -> None:
        task = asyncio.ensure_future(translator.aio.translate(["guten morgen. " * 200] * 50, **DE_EN))
        while not at_work(translator):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    until(lambda: at_work(translator) == 0)


def test_many_threads_ask_one_model(translator: Model) -> None:
    expected = texts(translator.translate(TEXTS, **DE_EN))
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: found.append(texts(translator.translate(TEXTS * 5, **DE_EN)))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected * 5] * 6


def test_a_closed_model_ends_what_is_on_its_way_and_takes_no_more(artifacts: dict[str, Path]) -> None:
    model = load(artifacts["translator"], max_batch_rows=8)
    results = model.translate_each(("guten morgen. " * 500 for _ in range(1000)), **DE_EN)
    ended: list[Exception] = []

    def take() -> None:
        try:
            list(results)
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    until(lambda: at_work(model) > 0)
    model.close()
    model.close()
    thread.join(PATIENCE)
    (error,) = ended
    assert isinstance(error, ServiceError)
    assert error.code is ErrorCode.UNAVAILABLE
    assert "translator is closed; load it again" in error.message
    for call in (
        lambda: model.translate("welt"),
        lambda: model.translate_each(["welt"]),
        lambda: model.translate_stream("welt"),
    ):
        with pytest.raises(ServiceError, match="translator is closed"):
            call()


def test_a_model_that_nobody_has_any_more_is_closed(artifacts: dict[str, Path]) -> None:
    model = load(artifacts["summarizer"])
    engine = model._loaded.served.engine
    results = model.summarize_each(["she wrote it"] * 3)
    del model
    gc.collect()
    # The iterator has it.
    assert len(list(results)) == 3
    del results
    gc.collect()
    until(lambda: engine.fault is not None)
