"""Several pieces of work at a time, of which all are done or none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
W = TypeVar("W")


async def all_or_none(work: Iterable[Awaitable[T]]) -> list[T]:
    """What all of `work` gives, in its order, done side by side; at the first fault the rest is cancelled."""
    parts = list(work)
    if len(parts) == 1:
        return [await parts[0]]
    tasks = [asyncio.ensure_future(each) for each in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def side_by_side(work: Callable[[W], Awaitable[T]], on: Sequence[W], most: int) -> list[T]:
    """What `work` gives on each, in their order, on so many at a time; at the first fault the rest is left.

    A task for each of them would do as well, but thousands that begin at once hold the loop.
    """
    coming = iter(range(len(on)))
    found: dict[int, T] = {}

    async def take() -> None:
        for place in coming:
            found[place] = await work(on[place])

    await all_or_none(take() for _ in range(min(most, len(on))))
    return [found[place] for place in range(len(on))]
