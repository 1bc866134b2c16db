"""Batches for a translator that makes none by itself: CTranslate2 never decodes the texts of two calls together.

What waits when a replica is free goes into its next call, so that batches grow with the load and nobody waits for company
while a replica is idle; unless there are some milliseconds to wait, as batching servers have it for a setting. A call is
decoded to its end before its texts are answered, and nothing joins it meanwhile: the library has no other way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple


class Search(NamedTuple):
    """How an output is searched for, by CTranslate2's names; one call has one of them for all of its texts."""

    beam_size: int
    min_decoding_length: int
    max_decoding_length: int
    length_penalty: float
    repetition_penalty: float
    no_repeat_ngram_size: int


class Source(NamedTuple):
    """One text for the translator."""

    ids: tuple[int, ...]
    prefix: tuple[int, ...]
    """What the output is made to begin with."""


Decode = Callable[[Sequence[Source], Search], Sequence[list[int]]]
"""Generated ids of each source, the prefix and the end token included. Blocks; is called by a thread for each replica."""


class _Waiting(NamedTuple):
    source: Source
    search: Search
    answer: asyncio.Future[list[int]]


class Batcher:
    """Gathers texts into calls. Made, asked and closed in one event loop."""

    def __init__(self, decode: Decode, replicas: int, max_batch: int, wait_seconds: float) -> None:
        """`replicas` calls run side by side, of `max_batch` texts at most."""
        self._decode, self._max_batch, self._wait_seconds = decode, max_batch, wait_seconds
        self._line: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._threads = ThreadPoolExecutor(replicas)
        self._replicas = [asyncio.create_task(self._replica()) for _ in range(replicas)]

    async def generate(self, source: Source, search: Search) -> list[int]:
        """Raises what `decode` raises."""
        answer: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._line.append(_Waiting(source, search, answer))
        self._arrived.set()
        return await answer

    async def close(self) -> None:
        """What is not answered is never answered."""
        for replica in self._replicas:
            replica.cancel()
        await asyncio.gather(*self._replicas, return_exceptions=True)
        self._threads.shutdown()

    async def _replica(self) -> None:
        while True:
            batch = await self._gathered()
            sources = [waiting.source for waiting in batch]
            try:
                outputs = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._decode, sources, batch[0].search
                )
            except Exception as error:  # is the requests', and the replica goes on
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(error)
            else:
                for waiting, output in zip(batch, outputs, strict=True):
                    if not waiting.answer.done():
                        waiting.answer.set_result(output)

    async def _gathered(self) -> list[_Waiting]:
        """The oldest texts that are searched for alike."""
        batch: list[_Waiting] = []
        while not batch:
            while not self._line:
                self._arrived.clear()
                await self._arrived.wait()
            if self._wait_seconds and len(self._line) < self._max_batch:
                await asyncio.sleep(self._wait_seconds)
            while self._line and len(batch) < self._max_batch and (not batch or self._line[0].search == batch[0].search):
                batch.append(self._line.popleft())
        return batch
