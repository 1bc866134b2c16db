"""Candidates from hidden values: the head and the choice among its logits, as each request wants it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serving.engine.native.buffers import Buffers
from serving.engine.native.library import DRAWS, WANTED, kernels
from serving.engine.native.linear import PackedLinear
from serving.engine.pytorch.candidates import draws_of_rows
from serving.engine.runner import Candidates, Draws, Edits, Wanted

MOST_SCANNED = 128
"""Candidates of a row that are found while its logits are computed; more are sorted out of the whole row."""


class _Way(Enum):
    """How the answer to a `Wanted` is found."""

    NOTHING = 0
    SCANNED = 1
    """While the logits are computed."""
    SORTED = 2
    DRAWN = 3


class Selection:
    """The head of one model, and what is chosen by it."""

    def __init__(self, head: PackedLinear, buffers: Buffers) -> None:
        self._head = head
        self._buffers = buffers
        self._last = _Asked((), ())

    def __call__(self, hidden: Tensor, rows: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
        """Of float32 hidden values [rows, d_model]; `rows` are those of each request.

        The head runs only for rows of which something is wanted: where a token is forced, nothing is.
        """
        ways = [_way(each) for each in wanted]
        if len(set(ways)) == 1:
            return self._found(ways[0], hidden, rows, wanted)
        found: dict[int, Candidates] = {}
        of_row = np.repeat(np.arange(len(rows)), rows)
        for way in set(ways):
            members = [place for place, each in enumerate(ways) if each == way]
            chosen = torch.from_numpy(np.flatnonzero(np.isin(of_row, members)))
            part = self._buffers.floats(f"hidden of {way}", len(chosen), hidden.shape[1])
            torch.index_select(hidden, 0, chosen, out=part)
            answers = self._found(way, part, [rows[place] for place in members], [wanted[place] for place in members])
            found |= zip(members, answers, strict=True)
        return [found[place] for place in range(len(wanted))]

    def _found(self, way: _Way, hidden: Tensor, rows: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
        asked = self._last if self._last.is_for(rows, wanted) else _Asked(rows, wanted)
        self._last = asked
        answer = asked.answer
        if way == _Way.SCANNED:
            kernels().dq_head(self._head.address, hidden.data_ptr(), hidden.shape[0], asked.address, *answer.addresses)
        elif way != _Way.NOTHING:
            logits = self._head(hidden, self._buffers.floats("logits", hidden.shape[0], self._head.rows))
            given = (logits.data_ptr(), *logits.shape, asked.address)
            if way == _Way.SORTED:
                kernels().dq_select(*given, *answer.addresses)
            else:
                draws, numbers = _draws(draws_of_rows(rows, wanted))
                kernels().dq_draw(*given, draws.ctypes.data, *answer.addresses)
                del numbers
        return answer.candidates()


def _way(wanted: Wanted) -> _Way:
    if wanted.draws is not None:
        return _Way.DRAWN
    if wanted.count > MOST_SCANNED:
        return _Way.SORTED
    return _Way.SCANNED if wanted.count or wanted.normalizers else _Way.NOTHING


def _draws(draws: Sequence[Draws]) -> tuple[NDArray[np.void], NDArray[np.float64]]:
    """How each row is drawn from, and the numbers that it points to."""
    numbers = np.concatenate([each.numbers[0] for each in draws])
    counts = np.array([len(each.numbers[0]) for each in draws])
    table = np.empty(len(draws), DRAWS)
    table["numbers"] = numbers.ctypes.data + numbers.itemsize * (np.cumsum(counts) - counts)
    for name in ("divisor", "top_p", "top_k"):
        table[name] = [getattr(each, name) for each in draws]
    return table, numbers


class _Asked:
    """What is wanted of each row, as the kernels read it. Owns what its addresses point to."""

    def __init__(self, rows: Sequence[int], wanted: Sequence[Wanted]) -> None:
        self.rows, self.wanted = tuple(rows), tuple(wanted)
        self._table = table = np.zeros(sum(rows), WANTED)
        table["count"] = np.repeat([each.count for each in wanted], rows)
        table["log_probabilities"] = np.repeat([each.log_probabilities for each in wanted], rows)
        table["normalizer"] = np.repeat([each.normalizers for each in wanted], rows)
        table["repetition_penalty"] = np.repeat([each.repetition_penalty for each in wanted], rows)
        self._edits = [self._point(name, [getattr(each, name) for each in wanted]) for name in ("penalized", "banned")]
        self.address = table.ctypes.data
        self.answer = _Answer(self.rows, self.wanted)

    def is_for(self, rows: Sequence[int], wanted: Sequence[Wanted]) -> bool:
        """Whether the same was asked before, as without edits it is from step to step."""
        same = len(wanted) == len(self.wanted) and all(map(lambda one, other: one is other, wanted, self.wanted))
        return same and self.rows == tuple(rows)

    def _point(self, name: str, edits: Sequence[Edits | None]) -> NDArray[np.int64] | None:
        """Enter where the edited tokens of each row are; all of them, one row after another."""
        if all(each is None for each in edits):
            return None
        counts = [
            np.zeros(count, np.int64) if each is None else each.counts for count, each in zip(self.rows, edits, strict=True)
        ]
        tokens = np.concatenate([each.tokens for each in edits if each is not None])
        of_row = np.concatenate(counts)
        self._table[f"{name}_count"] = of_row
        self._table[name] = tokens.ctypes.data + tokens.itemsize * (np.cumsum(of_row) - of_row)
        return tokens


class _Answer:
    """The memory that a kernel answers into, again and again while the same is asked."""

    def __init__(self, rows: Sequence[int], wanted: Sequence[Wanted]) -> None:
        total, most = sum(rows), max((each.count for each in wanted), default=0)
        values, tokens = np.empty((total, most), np.float32), np.empty((total, most), np.int64)
        normalizers = np.empty(total, np.float32)
        self.addresses = most, values.ctypes.data, tokens.ctypes.data, normalizers.ctypes.data
        self._candidates, first = [], 0
        for count, each in zip(rows, wanted, strict=True):
            end = first + count
            best = values[first:end, : each.count], tokens[first:end, : each.count]
            self._candidates.append(Candidates(*best, normalizers[first:end]))
            first = end

    def candidates(self) -> list[Candidates]:
        """What the kernel wrote."""
        return self._candidates
