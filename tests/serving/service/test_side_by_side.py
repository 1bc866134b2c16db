"""Work in its order, so much of it at a time, and the rest left at the first fault."""

from __future__ import annotations

import asyncio

import pytest

from serving.service.side_by_side import all_or_none, side_by_side


def test_all_or_none_keeps_the_order() -> None:
    async def later(value: int) -> int:
        await asyncio.sleep(0.001 * (3 - value))
        return value

    async def ask() -> list[int]:
        return await all_or_none(later(value) for value in range(3))

    assert asyncio.run(ask()) == [0, 1, 2]


def test_no_more_is_begun_at_a_time_than_is_allowed() -> None:
    running = most = 0

    async def work(value: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (value % 3))
        running -= 1
        return value * value

    async def ask() -> list[int]:
        return await side_by_side(work, range(50), 4)

    assert asyncio.run(ask()) == [value * value for value in range(50)]
    assert most == 4
    assert asyncio.run(side_by_side(work, [], 4)) == []


def test_at_the_first_fault_the_rest_is_left() -> None:
    begun: list[int] = []

    async def work(value: int) -> None:
        begun.append(value)
        if value == 5:
            raise KeyError(value)
        await asyncio.sleep(0 if value < 5 else 60)

    with pytest.raises(KeyError):
        asyncio.run(side_by_side(work, range(1000), 3))
    assert len(begun) < 10
