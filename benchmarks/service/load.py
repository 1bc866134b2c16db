"""Requests at a server or an engine, counted and timed: so many at a time (closed loop), or at so many a second (open loop).

In an open loop requests come when they are due, as those of users who know nothing of each other, and their latency counts
from then: what a slow answer makes the next ones wait is in their latencies, and is not left out because nobody asked
meanwhile. A closed loop finds how much can be carried.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

ANSWERED = "ok"
FIRST_REQUESTS = 3
"""Of a closed loop, one after the other; they do not count."""

UNFINISHED = "unfinished"
"""Given up at the end of a load, some seconds after the last request was due."""


class Sender(Protocol):
    """One side of a connection."""

    async def send(self, number: int) -> str:
        """Ask request `number`, counted on from the first, and await the whole answer: ANSWERED, or the error's code."""

    async def close(self) -> None: ...


class Load(NamedTuple):
    """What is sent, and for how long."""

    seconds: float
    """Of the window in which requests count: closed, those that end in it; open, those that are due in it."""
    clients: int = 1
    """Closed loop: each sends its next request when it has its answer."""
    rate: float | None = None
    """Open loop: requests a second, a Poisson process."""
    requests: int | None = None
    """Closed loop: stop after so many, in place of `seconds`."""
    warm_up: float = 0.5
    """Seconds before the window."""
    patience: float = 5.0
    """Seconds that open requests are awaited after the window."""
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a load; times in seconds."""

    latencies: tuple[float, ...]
    """Of the answered requests that count."""
    codes: dict[str, int]
    """Requests that count, by how they ended."""
    seconds: float
    cpu_seconds: float
    """That the sender itself computed in the window, which a server on the same cores did not have."""

    @property
    def throughput(self) -> float:
        """Answered requests a second."""
        return self.codes.get(ANSWERED, 0) / self.seconds

    @property
    def failures(self) -> dict[str, int]:
        return {code: count for code, count in self.codes.items() if code != ANSWERED}

    def percentile(self, share: float) -> float:
        """The latency that this share of the answered requests does not exceed, by nearest rank; not a number if none."""
        return percentile(self.latencies, share)


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank; not a number of nothing."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


async def drive(sender: Sender, load: Load) -> Outcome:
    """Send a load, and close the sender."""
    try:
        return await (_closed(sender, load) if load.rate is None else _open(sender, load, load.rate))
    finally:
        await sender.close()


class _Counted:
    """Requests that count, as they end."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.latencies: list[float] = []

    def add(self, code: str, latency: float) -> None:
        self.codes[code] += 1
        if code == ANSWERED:
            self.latencies.append(latency)

    def outcome(self, seconds: float, cpu_seconds: float) -> Outcome:
        return Outcome(tuple(self.latencies), dict(self.codes), seconds, cpu_seconds)


async def _closed(sender: Sender, load: Load) -> Outcome:
    counted = _Counted()
    numbers = iter(range(1 << 60))
    for _ in range(FIRST_REQUESTS):
        await sender.send(next(numbers))
    begin = time.perf_counter() + (0.0 if load.requests else load.warm_up)
    end = math.inf if load.requests else begin + load.seconds
    left = load.requests or math.inf
    cpu = _Cpu(begin)

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.perf_counter()
            if started >= end:
                break
            code = await sender.send(next(numbers))
            ended = time.perf_counter()
            cpu.look(ended)
            if begin <= ended < end:
                counted.add(code, ended - started)

    await asyncio.gather(*(client() for _ in range(load.clients)))
    return counted.outcome(time.perf_counter() - begin if load.requests else load.seconds, cpu.used())


async def _open(sender: Sender, load: Load, rate: float) -> Outcome:
    counted = _Counted()
    draw = random.Random(load.seed)
    due = time.perf_counter()
    begin = due + load.warm_up
    cpu = _Cpu(begin)
    running: set[asyncio.Task[None]] = set()

    async def request(number: int, due: float) -> None:
        try:
            code = await sender.send(number)
        except asyncio.CancelledError:
            code = UNFINISHED
        if due >= begin:
            counted.add(code, time.perf_counter() - due)

    number = 0
    while (due := due + draw.expovariate(rate)) < begin + load.seconds:
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        cpu.look(time.perf_counter())
        task = asyncio.create_task(request(number, due))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
    used = cpu.used()
    if running:
        await asyncio.wait(set(running), timeout=load.patience)
    late = set(running)
    for task in late:
        task.cancel()
    await asyncio.gather(*late)
    return counted.outcome(load.seconds, used)


class _Cpu:
    """This process's computing since the first look after `begin`."""

    def __init__(self, begin: float) -> None:
        self._begin = begin
        self._start: float | None = None

    def look(self, now: float) -> None:
        if self._start is None and now >= self._begin:
            self._start = time.process_time()

    def used(self) -> float:
        return 0.0 if self._start is None else time.process_time() - self._start
