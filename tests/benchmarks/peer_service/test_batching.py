"""What waits goes into one call; nothing else does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from benchmarks.peer_service.batching import Batcher, Search, Source

GREEDY = Search(1, 1, 8, 1.0, 1.0, 0)
BEAMS = GREEDY._replace(beam_size=4)


def source(number: int) -> Source:
    return Source((number,), ())


class Held:
    """Decodes when it is let, and notes its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], int]] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, sources: Sequence[Source], search: Search) -> list[list[int]]:
        numbers = [source.ids[0] for source in sources]
        self.calls.append((numbers, search.beam_size))
        self.begun.release()
        self.go.acquire()
        if 13 in numbers:
            raise ValueError("13")
        return [[number, number] for number in numbers]

    async def next_call(self) -> None:
        await asyncio.to_thread(self.begun.acquire)


def run(use: Callable[[Batcher, Held], Awaitable[None]], replicas: int = 1, max_batch: int = 3, wait: float = 0.0) -> Held:
    decode = Held()

    async def main() -> None:
        batcher = Batcher(decode, replicas, max_batch, wait)
        try:
            await use(batcher, decode)
        finally:
            await batcher.close()

    asyncio.run(main())
    return decode


def test_what_comes_while_a_replica_is_busy_is_one_call_of_the_most() -> None:
    async def use(batcher: Batcher, decode: Held) -> None:
        first = asyncio.create_task(batcher.generate(source(0), GREEDY))
        await decode.next_call()
        rest = [asyncio.create_task(batcher.generate(source(number), GREEDY)) for number in range(1, 6)]
        await asyncio.sleep(0)
        decode.go.release(3)
        assert await asyncio.gather(first, *rest) == [[number, number] for number in range(6)]

    assert [numbers for numbers, _ in run(use).calls] == [[0], [1, 2, 3], [4, 5]]


def test_a_call_has_one_search_and_keeps_the_order() -> None:
    async def use(batcher: Batcher, decode: Held) -> None:
        decode.go.release(9)
        searches = [GREEDY, GREEDY, BEAMS, GREEDY]
        await asyncio.gather(*(batcher.generate(source(number), search) for number, search in enumerate(searches)))

    assert run(use).calls == [([0, 1], 1), ([2], 4), ([3], 1)]


def test_replicas_work_side_by_side() -> None:
    async def use(batcher: Batcher, decode: Held) -> None:
        tasks = [asyncio.create_task(batcher.generate(source(number), GREEDY)) for number in range(2)]
        await decode.next_call()
        await decode.next_call()
        decode.go.release(2)
        await asyncio.gather(*tasks)

    assert sorted(numbers for numbers, _ in run(use, replicas=2, max_batch=1).calls) == [[0], [1]]


def test_waiting_for_company() -> None:
    async def use(batcher: Batcher, decode: Held) -> None:
        decode.go.release(9)
        first = asyncio.create_task(batcher.generate(source(0), GREEDY))
        # The replica has seen the first by then, and lies in wait.
        for _ in range(3):
            await asyncio.sleep(0)
        await asyncio.gather(first, batcher.generate(source(1), GREEDY))

    assert [numbers for numbers, _ in run(use, wait=0.2).calls] == [[0, 1]]


def test_an_error_is_that_of_its_call() -> None:
    async def use(batcher: Batcher, decode: Held) -> None:
        decode.go.release(9)
        with pytest.raises(ValueError, match="13"):
            await batcher.generate(source(13), GREEDY)
        assert await batcher.generate(source(1), GREEDY) == [1, 1]

    run(use)


def test_who_left_is_not_answered() -> None:
    async def use(batcher: Batcher, decode: Held) -> None:
        left, stays = (asyncio.create_task(batcher.generate(source(number), GREEDY)) for number in range(2))
        await decode.next_call()
        left.cancel()
        await asyncio.sleep(0)
        decode.go.release()
        assert await stays == [1, 1]

    run(use)
