"""Requests that come one by one, served by continuous and by static batching of the same engine, under a virtual clock.

The clock starts at 0 and is moved by what each step of the engine really took; waiting for the next arrival costs nothing,
the clock is set to it. So a run takes as long as its computation, and a server that is mostly idle is measured as quickly as
a busy one. What is left out is what happens beside the engine: threads, queues, transports.

Static batching takes requests that have arrived as one batch, encodes all of it, and takes the next ones when all of it has
ended; then it answers, as one call of a batch function does. Rows that have ended are computed to the end of their batch, as
`generate` does, by asking for as many tokens as the longest wants; or they are dropped, as CTranslate2 does.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from serving.engine.engine import EngineStats, Event, Finished
from serving.engine.request import GenerationParameters, Request, Result

SOURCE_TOKENS = (32, 512)
NEW_TOKENS = (8, 128)
"""Least and most; drawn uniformly."""


class StepEngine(Protocol):
    """What is used of the engine."""

    decoded_rows: int

    def submit(self, request: Request) -> int: ...
    def step(self) -> list[Event]: ...
    def stats(self) -> EngineStats: ...
    @property
    def has_work(self) -> bool: ...


class Load(NamedTuple):
    """The same requests for every rate: only the time between them is scaled."""

    requests: tuple[Request, ...]
    gaps: tuple[float, ...]
    """Before each request, in units of the mean: a Poisson process of rate 1."""

    def arrivals(self, rate: float) -> list[float]:
        """Seconds at which the requests come, `rate` a second on average; an infinite rate is all at once."""
        times, now = [], 0.0
        for gap in self.gaps:
            now += gap / rate
            times.append(now)
        return times


@dataclass(frozen=True)
class Outcome:
    """How a load was served; times in seconds of the virtual clock."""

    latencies: tuple[float, ...]
    """From arrival to answer, one a request that was answered, in order of their answers."""
    seconds: float
    """From the first arrival to the last answer."""
    mean_rows: float
    """Rows decoded in a step, on average over the steps that decoded any."""
    longest_stall: float
    """The longest that rows being decoded waited for encoding."""

    @property
    def throughput(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """The latency that this share of the requests does not exceed, by nearest rank."""
        return sorted(self.latencies)[math.ceil(share * len(self.latencies)) - 1]


def draw_load(seed: int, count: int, beams: Sequence[int], vocab_size: int, start: int, eos: int, longest: int) -> Load:
    """Random sources of at most `longest` tokens, forced output lengths, each request's beams drawn from `beams`."""
    draw = random.Random(seed)
    requests = []
    for _ in range(count):
        length, new_tokens = draw.randint(*SOURCE_TOKENS), draw.randint(*NEW_TOKENS)
        source = tuple(draw.randrange(10, vocab_size) for _ in range(min(length, longest)))
        parameters = GenerationParameters(
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            num_beams=draw.choice(list(beams)),
            decoder_start_token_id=start,
            eos_token_ids=(eos,),
        )
        requests.append(Request(source, parameters))
    return Load(tuple(requests), tuple(draw.expovariate(1.0) for _ in range(count)))


class _Server:
    """An engine, the clock that its steps move, and who is waiting for what."""

    def __init__(self, engine: StepEngine, load: Load, rate: float, timer: Callable[[], float]) -> None:
        self.engine = engine
        self.requests = load.requests
        self.times = load.arrivals(rate)
        self.now = self.times[0]
        self.latencies: list[float] = []
        self._timer = timer
        self._come = 0
        self._running: dict[int, int] = {}
        self._rows: list[int] = []

    @property
    def done(self) -> bool:
        return len(self.latencies) == len(self.requests)

    def come(self) -> list[int]:
        """Places of the requests that have come since the last call."""
        first = self._come
        while self._come < len(self.times) and self.times[self._come] <= self.now:
            self._come += 1
        return list(range(first, self._come))

    def wait(self) -> None:
        """Nothing is to be done before the next arrival."""
        self.now = max(self.now, self.times[self._come])

    def submit(self, places: Sequence[int], requests: Sequence[Request]) -> None:
        for place, request in zip(places, requests, strict=True):
            self._running[self.engine.submit(request)] = place

    def step(self) -> list[int]:
        """Places of the requests that ended in this step. Raises what ended one without a result."""
        started = self._timer()
        events = self.engine.step()
        self.now += self._timer() - started
        if self.engine.decoded_rows:
            self._rows.append(self.engine.decoded_rows)
        ended = []
        for event in events:
            if isinstance(event, Finished):
                if not isinstance(event.outcome, Result):
                    raise event.outcome
                ended.append(self._running.pop(event.request_id))
        return ended

    def answer(self, places: Sequence[int]) -> None:
        self.latencies += [self.now - self.times[place] for place in places]

    def late(self, most: float) -> int:
        """Requests that were answered later than `most` seconds after they came."""
        return sum(latency > most for latency in self.latencies)

    def outcome(self) -> Outcome:
        return Outcome(
            tuple(self.latencies),
            self.now - self.times[0],
            sum(self._rows) / len(self._rows),
            self.engine.stats().longest_stall_seconds,
        )


def continuous(engine: StepEngine, load: Load, rate: float, timer: Callable[[], float] = time.perf_counter) -> Outcome:
    """Serve: each request is submitted when it comes, and answered when it ends."""
    server = _Server(engine, load, rate, timer)
    while not server.done:
        come = server.come()
        server.submit(come, [load.requests[place] for place in come])
        if engine.has_work:
            server.answer(server.step())
        else:
            server.wait()
    return server.outcome()


def _of_length(request: Request, new_tokens: int) -> Request:
    parameters = replace(request.parameters, max_new_tokens=new_tokens, min_new_tokens=new_tokens)
    return replace(request, parameters=parameters)


class StaticPolicy(NamedTuple):
    """How static batching makes its batches."""

    rows: int
    """Most rows of a batch."""
    by_length: bool
    """Whether a batch is those whose sources are of like length to the oldest's, or simply the oldest."""
    drops_ended: bool
    """Whether rows that have ended leave the batch, or are computed until all of it has ended."""

    def __str__(self) -> str:
        return f"{self.rows} rows, {'by length' if self.by_length else 'in order'}"

    def requests(self, batch: Sequence[Request]) -> list[Request]:
        """What is asked of the engine for a batch."""
        longest = max(request.parameters.max_new_tokens for request in batch)
        return [request if self.drops_ended else _of_length(request, longest) for request in batch]

    def take(self, waiting: Sequence[int], requests: Sequence[Request]) -> list[int]:
        """Which of those who wait (oldest first) make the next batch; the oldest is among them."""
        order = list(waiting)
        if self.by_length:
            oldest = len(requests[waiting[0]].source_ids)
            order.sort(key=lambda place: abs(len(requests[place].source_ids) - oldest))
        batch: list[int] = []
        free = self.rows
        for place in order:
            beams = requests[place].parameters.num_beams
            if beams > free and batch:
                break
            batch.append(place)
            free -= beams
        return batch


def static(
    engine: StepEngine,
    load: Load,
    rate: float,
    policy: StaticPolicy,
    give_up: tuple[float, int] | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> Outcome | None:
    """Serve in batches. None as soon as more than `give_up[1]` requests were answered later than `give_up[0]` seconds."""
    server = _Server(engine, load, rate, timer)
    waiting: list[int] = []
    while not server.done:
        waiting += server.come()
        if not waiting:
            server.wait()
            continue
        batch = policy.take(waiting, load.requests)
        waiting = [place for place in waiting if place not in batch]
        server.submit(batch, policy.requests([load.requests[place] for place in batch]))
        while engine.has_work:
            server.step()
        server.answer(batch)
        if give_up is not None and server.late(give_up[0]) > give_up[1]:
            return None
    return server.outcome()


def highest_rate(holds: Callable[[float], bool], low: float, high: float, halvings: int) -> float:
    """The highest rate found for which `holds`, between `low`, which is taken to hold, and `high`, by bisection."""
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
