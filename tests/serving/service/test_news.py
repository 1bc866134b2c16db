from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.service.news import InOrder, News, told
from serving.service.results import InputResult, Result, TextDelta, Timings, TruncationReport

RESULT = Result(
    text="ab",
    generated_tokens=3,
    finish_reason="eos",
    source_tokens=5,
    timings=Timings(queue=0.1, encode=0.2, decode=0.3),
    truncation=TruncationReport(applied="none", windows=1, source_tokens_total=5, source_tokens_used=5),
)


def delta(place: int, text: str) -> TextDelta:
    return TextDelta(model="m", input=place, text=text)


def result(place: int) -> InputResult:
    return InputResult(model="m", input=place, result=RESULT)


def events_of(work: Callable[[News], Coroutine[Any, Any, None]]) -> list[Any]:
    async def collect() -> list[Any]:
        return [event async for event in told("m", work)]

    return asyncio.run(collect())


def test_what_is_ready_at_once_goes_out_as_one_event_an_input() -> None:
    async def work(news: News) -> None:
        for place, text in ((1, "a"), (0, "x"), (1, "b"), (0, "")):
            news.tell(place, text)
        news.end(1, RESULT)

    assert events_of(work) == [delta(1, "ab"), delta(0, "x"), result(1)]


def test_what_comes_later_is_an_event_of_its_own() -> None:
    async def work(news: News) -> None:
        news.tell(0, "a")
        for _ in range(5):
            await asyncio.sleep(0)
        news.tell(0, "b")
        for _ in range(5):
            await asyncio.sleep(0)
        news.end(0, RESULT)

    assert events_of(work) == [delta(0, "a"), delta(0, "b"), result(0)]


def test_a_fault_is_raised_without_what_is_not_read_yet() -> None:
    async def work(news: News) -> None:
        news.tell(0, "a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        events_of(work)


def test_leaving_cancels_the_work_and_waits_for_its_end() -> None:
    ended = False

    async def work(news: News) -> None:
        nonlocal ended
        try:
            news.tell(0, "a")
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended = True

    async def leave() -> None:
        async with aclosing(told("m", work)) as events:
            assert await anext(events) == delta(0, "a")
        assert ended

    asyncio.run(leave())


def test_the_works_timeout_leaves_a_busy_reader_alone() -> None:
    async def work(news: News) -> None:
        news.tell(0, "a")
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    async def read() -> None:
        async with aclosing(told("m", work)) as events:
            assert await anext(events) == delta(0, "a")
            for _ in range(10):
                await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                await anext(events)

    asyncio.run(read())


@given(data=st.data())
def test_windows_are_told_in_order_whatever_comes_first(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.lists(st.sampled_from(["", "a", "b ", "c"]), max_size=3), min_size=1, max_size=5))
    before = [data.draw(st.sampled_from(["", " ", "\n- "])) for _ in texts]
    parts: list[str] = []
    in_order = InOrder(before, "\n", parts.append)
    waiting = [list(each) for each in texts]
    open_windows = list(range(len(texts)))
    while open_windows:
        window = data.draw(st.sampled_from(open_windows))
        if waiting[window]:
            in_order.tell(window, waiting[window].pop(0))
        else:
            in_order.end(window)
            open_windows.remove(window)
        # The first one that is open is told at once, and those behind it are not.
        first = min(open_windows, default=len(texts))
        known = ["".join(each) for each in texts[:first]]
        if first < len(texts):
            known.append("".join(texts[first][: len(texts[first]) - len(waiting[first])]))
        begun = known if not known or known[-1] or first == len(texts) else known[:-1]
        joined = "".join(f"{between}{text}" for between, text in zip(before, begun, strict=False))
        assert "".join(parts) == joined + "\n" * (first == len(texts))
