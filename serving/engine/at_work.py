"""The requests that a runner has, in the runner's order, and the room that they need in the budget of cache memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable, Sequence
from time import perf_counter

from serving.engine.generation import Generation
from serving.engine.runner import Runner
from serving.engine.scheduler import Scheduler


class AtWork:
    """Who is being encoded, and the batch; touched by the stepping thread only."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.encoding: list[Generation] = []
        self.batch: list[Generation] = []

    def begin(self, generations: list[Generation]) -> None:
        """Start to encode requests together."""
        now = perf_counter()
        self.encoding = generations
        for generation in generations:
            generation.encoding_starts(now)
        self._runner.begin([generation.source for generation in generations])

    def join(self) -> None:
        """What was being encoded is encoded."""
        now = perf_counter()
        for generation in self.encoding:
            generation.decoding_starts(now)
        self.batch += self.encoding
        self.encoding = []

    def keep(self, parents: Sequence[Sequence[int]]) -> None:
        """As the runner's `select`."""
        self._runner.select(parents)
        self.batch = [generation for generation, rows in zip(self.batch, parents, strict=True) if rows]

    def drop(self, request_ids: Container[int]) -> list[Generation]:
        """Take requests out of the batch; who they were."""
        dropped = [each for each in self.batch if each.request_id in request_ids]
        if dropped:
            self.keep([range(0 if each.request_id in request_ids else len(each.search.tokens)) for each in self.batch])
        return dropped

    def abandon(self) -> list[Generation]:
        """Take out what is being encoded; who they were."""
        abandoned, self.encoding = self.encoding, []
        self._runner.abandon()
        return abandoned

    def clear(self) -> tuple[list[Generation], list[Generation]]:
        """Take out everything: the batch, and what was being encoded."""
        everything, self.batch, self.encoding = (self.batch, self.encoding), [], []
        self._runner.clear()
        return everything


class Room:
    """Claims what the batch needs to go on, and sets back those for whose memory earlier requests have asked."""

    def __init__(
        self,
        at_work: AtWork,
        runner: Runner,
        scheduler: Scheduler,
        lock: threading.Lock,
        release: Callable[[Iterable[Generation]], None],
    ) -> None:
        """`lock` is over the scheduler and over who has departed; `release` is the end of requests."""
        self._at_work = at_work
        self._runner = runner
        self._scheduler = scheduler
        self._lock = lock
        self._release = release
        self._kept = 0
        """Spare bytes of the runner, as the budget knows them."""

    def give_way(self) -> bool:
        """Set back those who must be; whether there were any."""
        with self._lock:
            ids = set(self._scheduler.giving_way())
        if not ids:
            return False
        leaving = [each for each in self._at_work.batch if each.request_id in ids]
        encoding = any(each.request_id in ids for each in self._at_work.encoding)
        if encoding:
            # What is encoded together goes together.
            leaving += self._at_work.encoding
        # As long as something may go wrong they are at work, so that a fault ends them.
        for generation in leaving:
            generation.begin_again(self._runner)
        self._at_work.drop(ids)
        if encoding:
            self._at_work.abandon()
        departed = []
        with self._lock:
            for generation in leaving:
                if generation.departed:
                    departed.append(generation)
                else:
                    self._scheduler.set_back(generation.claim(self._runner))
        self._release(departed)
        return bool(leaving)

    def claim(self) -> bool:
        """Claim room for the next position of every row; False while that is to come from other engines."""
        full = {each.request_id: each for each in self._at_work.batch if each.positions == each.room}
        if not full:
            return True
        with self._lock:
            earliest_first = self._scheduler.by_arrival(full)
        for request_id in earliest_first:
            generation = full[request_id]
            while any(each is generation for each in self._at_work.batch) and not self._grow(generation):
                if not self.give_way():
                    return False
        return True

    def keep_spare(self) -> None:
        """What the runner keeps for sources to come is for a busy engine, and claims come before it."""
        spare = self._runner.spare_bytes
        if spare or self._kept:
            busy = bool(self._at_work.batch or self._at_work.encoding)
            with self._lock:
                self._kept = self._scheduler.keep(spare if busy else 0)
            if self._kept < spare:
                self._runner.trim(self._kept)

    def _grow(self, generation: Generation) -> bool:
        next_bytes = generation.grown(self._runner).next_bytes
        with self._lock:
            grown = self._scheduler.grow(generation.request_id, next_bytes)
        if grown:
            generation.grow(self._runner)
        return grown
