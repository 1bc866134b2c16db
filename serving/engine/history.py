"""The tokens of a sequence, and what is looked up in them at each step, so that a step costs the same at any length."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence


class History:
    """A sequence with the decoder's start token as its first."""

    def __init__(self, ids: Sequence[int], seen: array[int]) -> None:
        self.ids = list(ids)
        self.seen = seen
        """Its distinct tokens, ascending."""

    @classmethod
    def of(cls, ids: Iterable[int]) -> History:
        """A sequence with these tokens."""
        history = cls((), array("q"))
        for token in ids:
            history.append(token)
        return history

    def __len__(self) -> int:
        return len(self.ids)

    def append(self, token: int) -> None:
        """Go on by a token."""
        self.ids.append(token)
        place = bisect_left(self.seen, token)
        if place == len(self.seen) or self.seen[place] != token:
            self.seen.insert(place, token)

    def continued(self, token: int) -> History:
        """Another one, which goes on by a token."""
        other = History(self.ids, self.seen[:])
        other.append(token)
        return other

    def has(self, token: int) -> bool:
        """Whether a token is in it."""
        place = bisect_left(self.seen, token)
        return place < len(self.seen) and self.seen[place] == token


class Ngrams:
    """Where n-grams of the sequences of a request end: one table for all of them, as they are equally long at each step."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ends: dict[tuple[int, ...], list[int]] = {}
        """By the tokens before its last: where in any sequence such an n-gram ends, each place once."""

    def note(self, ids: Sequence[int]) -> None:
        """Enter the n-gram with which a sequence ends now."""
        end = len(ids) - 1
        if len(ids) >= self._size:
            ends = self._ends.setdefault(tuple(ids[end + 1 - self._size : end]), [])
            if not ends or ends[-1] != end:
                ends.append(end)

    def repeated(self, ids: Sequence[int]) -> set[int]:
        """Which tokens would complete an n-gram that the sequence already has."""
        prefix = list(ending(ids, self._size))
        ends = self._ends.get(tuple(prefix), ())
        return {ids[end] for end in ends if ids[end + 1 - self._size : end] == prefix}


def ending(ids: Sequence[int], size: int) -> tuple[int, ...]:
    """The last tokens, of which the next one makes an n-gram of `size`; fewer while there are no more."""
    return tuple(ids[max(len(ids) + 1 - size, 0) :])


def followers(ids: Sequence[int], size: int) -> dict[tuple[int, ...], set[int]]:
    """What follows the first tokens of each n-gram of `size` tokens."""
    found: dict[tuple[int, ...], set[int]] = {}
    for start in range(len(ids) - size + 1):
        found.setdefault(tuple(ids[start : start + size - 1]), set()).add(ids[start + size - 1])
    return found
