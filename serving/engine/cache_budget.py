"""One budget of memory for the caches of all engines of a process: who may claim, and who gives way when it is used up.

Each engine has a share, in which its requests claim what they take and more as they grow. Whoever arrived first, at any
engine, comes first:

- Nobody is admitted while an earlier arrival waits for memory, and only if room is left for the next growth of all who run.
- Where a running request cannot grow, the latest arrivals give way, those of other engines too: their engines set them back
  when they step next. So the earliest always gets on, and as none takes more than the budget, all of them end.

It knows no tensors, and its methods may be called by any thread.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass


@dataclass
class _Held:
    """What a request has claimed."""

    share: BudgetShare
    cache_bytes: int
    next_bytes: int
    """That it will claim when it grows next; 0 when it has all it may take."""
    gives_way: bool = False


class CacheBudget:
    """So many bytes, shared by engines."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._arrivals = itertools.count()
        self._held: dict[int, _Held] = {}
        """By arrival."""
        self._claimed = 0
        self._next_bytes = 0
        self._waiting: dict[BudgetShare, int] = {}
        """The earliest arrival that waits for memory, of each share that has one."""
        self._spare: dict[BudgetShare, int] = {}

    @property
    def claimed(self) -> int:
        """Bytes claimed by the requests of all shares."""
        with self._lock:
            return self._claimed

    def share(self) -> BudgetShare:
        """A new engine's."""
        return BudgetShare(self)

    # What follows is called by shares.

    def arrive(self) -> int:
        """The next arrival's number: whoever has a smaller one comes first."""
        return next(self._arrivals)

    def admit(self, share: BudgetShare, arrival: int, cache_bytes: int, next_bytes: int) -> bool:
        with self._lock:
            overtakes = any(other < arrival for waits, other in self._waiting.items() if waits is not share)
            fits = not self._held or self._claimed + self._next_bytes + cache_bytes <= self.max_bytes
            if overtakes or not fits:
                self._waiting[share] = arrival
                return False
            self._waiting.pop(share, None)
            self._held[arrival] = _Held(share, cache_bytes, next_bytes)
            self._claimed += cache_bytes
            self._next_bytes += next_bytes
            share.claimed += cache_bytes
            return True

    def grow(self, arrival: int, next_bytes: int) -> bool:
        with self._lock:
            held = self._held[arrival]
            if self._claimed + held.next_bytes > self.max_bytes:
                self._make_way_for(held)
                return False
            self._claimed += held.next_bytes
            held.share.claimed += held.next_bytes
            held.cache_bytes += held.next_bytes
            self._next_bytes += next_bytes - held.next_bytes
            held.next_bytes = next_bytes
            return True

    def _make_way_for(self, growing: _Held) -> None:
        """Tell the latest arrivals to give way, until what they and those told before hold is enough."""
        left = self._claimed - sum(held.cache_bytes for held in self._held.values() if held.gives_way)
        for arrival in sorted(self._held, reverse=True):
            held = self._held[arrival]
            if growing.gives_way or left + growing.next_bytes <= self.max_bytes:
                return
            if not held.gives_way:
                held.gives_way = True
                held.share.giving_way.add(arrival)
                left -= held.cache_bytes

    def release(self, arrival: int) -> None:
        with self._lock:
            self._release(arrival)

    def _release(self, arrival: int) -> None:
        held = self._held.pop(arrival)
        self._claimed -= held.cache_bytes
        self._next_bytes -= held.next_bytes
        held.share.claimed -= held.cache_bytes
        held.share.giving_way.discard(arrival)

    def wait(self, share: BudgetShare, arrival: int | None) -> None:
        with self._lock:
            if arrival is None:
                self._waiting.pop(share, None)
            else:
                self._waiting[share] = arrival

    def keep(self, share: BudgetShare, spare_bytes: int) -> int:
        with self._lock:
            self._spare.pop(share, None)
            kept = max(0, min(spare_bytes, self.max_bytes - self._claimed - sum(self._spare.values())))
            if kept:
                self._spare[share] = kept
            return kept

    def leave(self, share: BudgetShare) -> None:
        with self._lock:
            self._waiting.pop(share, None)
            self._spare.pop(share, None)
            for arrival in [arrival for arrival, held in self._held.items() if held.share is share]:
                self._release(arrival)


class BudgetShare:
    """One engine's part of a budget. Requests go by the numbers that `arrive` gives."""

    def __init__(self, budget: CacheBudget) -> None:
        self._budget = budget
        self.claimed = 0
        """Bytes that the engine's requests have claimed; changed by the budget only, as is what follows."""
        self.giving_way: set[int] = set()
        """Arrivals that must be set back as soon as the engine can."""

    @property
    def max_bytes(self) -> int:
        """Of the whole budget."""
        return self._budget.max_bytes

    def arrive(self) -> int:
        """A place among all who come to any engine of the budget."""
        return self._budget.arrive()

    def admit(self, arrival: int, cache_bytes: int, next_bytes: int) -> bool:
        """Claim bytes, `next_bytes` to be claimed when it grows; False when it must wait, which others then know."""
        return self._budget.admit(self, arrival, cache_bytes, next_bytes)

    def grow(self, arrival: int, next_bytes: int) -> bool:
        """Claim what was said to be next; `next_bytes` come after it. False until others, or the request itself, have
        given way."""
        return self._budget.grow(arrival, next_bytes)

    def release(self, arrival: int) -> None:
        """Give back what a request has claimed."""
        self._budget.release(arrival)

    def wait(self, arrival: int | None) -> None:
        """Tell which request of the engine is the first to wait for memory; None for none."""
        self._budget.wait(self, arrival)

    def keep(self, spare_bytes: int) -> int:
        """How many of these bytes, which the engine keeps for requests to come, it may keep: claims come before them."""
        return self._budget.keep(self, spare_bytes)

    def close(self) -> None:
        """Give back everything."""
        self._budget.leave(self)
