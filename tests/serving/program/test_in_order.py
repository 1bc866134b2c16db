from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from quant.errors import Error
from serving.engine.errors import GenerationFailed
from serving.program.in_order import AHEAD, in_order, in_order_async
from serving.service.errors import ErrorCode, ServiceError

MOST = 3


class Asked:
    """What was submitted, each to be answered when the test says so."""

    def __init__(self) -> None:
        self.futures: dict[Any, Future[Any]] = {}

    def submit(self, given: Any) -> Future[Any]:
        self.futures[given] = Future()
        return self.futures[given]

    def submit_async(self, given: Any) -> asyncio.Future[Any]:
        return asyncio.wrap_future(self.submit(given))


def answered(given: Any) -> Future[Any]:
    """At once: a fault for what is one."""
    future: Future[Any] = Future()
    if isinstance(given, Exception):
        future.set_exception(given)
    else:
        future.set_result(given)
    return future


async def collected(inputs: Any, on_error: Any = "raise", total: int | None = None) -> list[Any]:
    def submit(given: Any) -> asyncio.Future[Any]:
        return asyncio.wrap_future(answered(given))

    return [each async for each in in_order_async(submit, inputs, MOST, on_error, total)]


@pytest.mark.parametrize("count", [0, 1, MOST, 100])
def test_results_come_in_the_order_of_the_inputs(count: int) -> None:
    assert list(in_order(answered, iter(range(count)), MOST, "raise")) == list(range(count))
    assert asyncio.run(collected(iter(range(count)))) == list(range(count))


def test_whatever_order_they_are_answered_in() -> None:
    asked = Asked()
    results = in_order(asked.submit, range(3), MOST, "raise")
    answering = threading.Thread(target=lambda: _answer_when_asked(asked, [2, 0, 1]))
    answering.start()
    assert list(results) == [0, 1, 2]
    answering.join()


def _answer_when_asked(asked: Asked, order: list[int]) -> None:
    for given in order:
        while given not in asked.futures:
            threading.Event().wait(0.001)
        asked.futures[given].set_result(given)


def test_no_more_are_on_their_way_than_may_be() -> None:
    asked = Asked()
    read: list[int] = []
    results = in_order(asked.submit, _reading(read, 100), MOST, "raise")
    answering = threading.Thread(target=lambda: _answer_when_asked(asked, [0]))
    answering.start()
    assert next(results) == 0
    answering.join()
    # The first, in whose place another came, if it was answered before the next result was asked for.
    assert len(read) in (MOST, MOST + 1)
    results.close()


def test_what_is_answered_behind_an_old_input_makes_room_until_so_many_are_ahead() -> None:
    asked = Asked()
    read: list[int] = []
    results = in_order(asked.submit, _reading(read, 100), MOST, "raise")
    answering = threading.Thread(target=lambda: _answer_when_asked(asked, [*range(1, AHEAD * MOST), 0]))
    answering.start()
    assert next(results) == 0
    answering.join()
    assert len(read) == AHEAD * MOST
    results.close()


def _reading(read: list[int], count: int) -> Iterator[int]:
    for number in range(count):
        read.append(number)
        yield number


def test_a_slow_reader_finds_as_many_on_their_way() -> None:
    read: list[int] = []
    results = in_order(answered, _reading(read, 100), MOST, "raise")
    for taken in range(1, 50):
        next(results)
        assert len(read) == taken


def test_leaving_cancels_what_is_on_its_way() -> None:
    asked = Asked()
    results = in_order(asked.submit, range(100), MOST, "raise")
    answering = threading.Thread(target=lambda: _answer_when_asked(asked, [0]))
    answering.start()
    next(results)
    answering.join()
    results.close()
    assert all(future.cancelled() for given, future in asked.futures.items() if given)


def test_leaving_an_async_one_cancels_too_and_closes_its_inputs() -> None:
    asked = Asked()
    closed = []

    async def inputs() -> AsyncIterator[int]:
        try:
            for number in range(100):
                yield number
        finally:
            closed.append(True)

    async def leave() -> None:
        results = in_order_async(asked.submit_async, inputs(), MOST, "raise")
        first = asyncio.ensure_future(anext(results))
        while 0 not in asked.futures:
            await asyncio.sleep(0)
        asked.futures[0].set_result(0)
        assert await first == 0
        await results.aclose()
        await asyncio.sleep(0)

    asyncio.run(leave())
    assert closed == [True]
    assert all(future.cancelled() for given, future in asked.futures.items() if given)


def test_an_async_input_that_does_not_come_holds_up_no_answer() -> None:
    async def ask() -> None:
        never = asyncio.Event()

        async def inputs() -> AsyncIterator[int]:
            yield 1
            await never.wait()

        results = in_order_async(lambda given: asyncio.wrap_future(answered(given)), inputs(), MOST, "raise")
        assert await anext(results) == 1
        await results.aclose()

    asyncio.run(ask())


TOO_LONG = ServiceError(ErrorCode.TOO_LONG, "too long", "text")
FAILED = GenerationFailed("a fault")


@pytest.mark.parametrize("fault", [TOO_LONG, FAILED])
def test_a_fault_stands_in_the_place_of_its_result(fault: Error) -> None:
    given = [1, fault, 3]
    assert list(in_order(answered, given, MOST, "return")) == given
    assert asyncio.run(collected(given, "return")) == given


@pytest.mark.parametrize(("total", "message"), [(None, "input 2: too long"), (3, "input 2 of 3: too long")])
def test_a_fault_that_is_raised_says_which_input_it_is_about(total: int | None, message: str) -> None:
    results = in_order(answered, [1, TOO_LONG, 3], MOST, "raise", total)
    assert next(results) == 1
    with pytest.raises(ServiceError) as error:
        next(results)
    assert (error.value.message, error.value.code, error.value.field) == (message, ErrorCode.TOO_LONG, "text")
    with pytest.raises(ServiceError, match=message):
        asyncio.run(collected([1, TOO_LONG, 3], total=total))


def test_of_one_input_it_need_not_say() -> None:
    with pytest.raises(ServiceError, match=r"^too long$"):
        list(in_order(answered, [TOO_LONG], MOST, "raise", 1))


@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_a_closed_model_is_the_end_of_all(on_error: Any) -> None:
    fault = ServiceError(ErrorCode.UNAVAILABLE, "closed")
    with pytest.raises(ServiceError, match="closed"):
        list(in_order(answered, [1, fault, 3], MOST, on_error))


def test_what_the_inputs_raise_is_raised_in_its_turn() -> None:
    def inputs() -> Iterator[int]:
        yield from range(2)
        raise OSError("no more to read")

    results = in_order(answered, inputs(), MOST, "return")
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="no more to read"):
        next(results)
    with pytest.raises(OSError, match="no more to read"):
        asyncio.run(collected(inputs()))
