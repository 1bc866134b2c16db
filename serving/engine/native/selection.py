"""Candidates from hidden values: the head and the choice among its logits, as each request wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serving.engine.native.buffers import Buffers
from serving.engine.native.library import DqWanted, kernels
from serving.engine.native.linear import PackedLinear
from serving.engine.runner import Candidates, Wanted

MOST_SCANNED = 128
"""Candidates of a row that are found while its logits are computed; more are sorted out of the whole row."""


class Selection:
    """The head of one model, and what is chosen by it."""

    def __init__(self, head: PackedLinear, buffers: Buffers) -> None:
        self._head = head
        self._buffers = buffers

    def __call__(self, hidden: Tensor, rows: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
        """Of float32 hidden values [rows, d_model]; `rows` are those of each request.

        The head runs only for rows of which something is wanted: where a token is forced, nothing is.
        """
        ways = [self._way(each) for each in wanted]
        if len(set(ways)) == 1 and ways[0] is not None:
            return ways[0](hidden, rows, wanted)
        found = [Candidates([[]] * count, [[]] * count, []) for count in rows]
        of_row = np.repeat(np.arange(len(rows)), rows)
        for way in {way for way in ways if way is not None}:
            members = [place for place, each in enumerate(ways) if each == way]
            part = hidden[torch.from_numpy(np.isin(of_row, members))]
            answers = way(part, [rows[place] for place in members], [wanted[place] for place in members])
            for place, answer in zip(members, answers, strict=True):
                found[place] = answer
        return found

    def _way(self, wanted: Wanted) -> Callable[[Tensor, Sequence[int], Sequence[Wanted]], list[Candidates]] | None:
        if wanted.count > MOST_SCANNED:
            return self._sorted
        return self._scanned if wanted.count or wanted.normalizers else None

    def _scanned(self, hidden: Tensor, rows: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
        answer = _Answer(rows, wanted)
        address, count = self._head.address, hidden.shape[0]
        kernels().dq_head(address, hidden.data_ptr(), count, *answer.addresses, torch.get_num_threads())
        return answer.candidates()

    def _sorted(self, hidden: Tensor, rows: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
        logits = self._head(hidden, self._buffers.floats("logits", hidden.shape[0], self._head.rows))
        answer = _Answer(rows, wanted)
        kernels().dq_select(logits.data_ptr(), *logits.shape, *answer.addresses, torch.get_num_threads())
        return answer.candidates()


class _Answer:
    """What is asked of a kernel, and the memory that it answers into."""

    def __init__(self, rows: Sequence[int], wanted: Sequence[Wanted]) -> None:
        self._rows, self._wanted = rows, wanted
        total, most = sum(rows), max(each.count for each in wanted)
        self._asked = (DqWanted * total)()
        self._edits: list[NDArray[np.int64]] = []
        self._values, self._normalizers = np.empty((total, most), np.float32), np.empty(total, np.float32)
        self._tokens = np.empty((total, most), np.int64)
        first = 0
        for count, each in zip(rows, wanted, strict=True):
            self._ask(first, count, each)
            first += count
        self.addresses = (
            self._asked,
            most,
            self._values.ctypes.data,
            self._tokens.ctypes.data,
            self._normalizers.ctypes.data,
        )

    def candidates(self) -> list[Candidates]:
        """What the kernel wrote."""
        found, first = [], 0
        for count, each in zip(self._rows, self._wanted, strict=True):
            part = slice(first, first + count)
            best = self._values[part, : each.count].tolist(), self._tokens[part, : each.count].tolist()
            found.append(Candidates(*best, self._normalizers[part].tolist() if each.normalizers else []))
            first += count
        return found

    def _ask(self, first: int, count: int, wanted: Wanted) -> None:
        edits: list[tuple[list[int], list[int]]] = [([], []) for _ in range(count)]
        for kind, pairs in enumerate((wanted.penalized, wanted.banned)):
            for row, token in pairs:
                edits[row][kind].append(token)
        for row, (penalized, banned) in enumerate(edits):
            entry = self._asked[first + row]
            entry.count, entry.log_probabilities, entry.normalizer = (
                wanted.count,
                wanted.log_probabilities,
                wanted.normalizers,
            )
            if penalized or banned:
                memory = np.array(penalized + banned, dtype=np.int64)
                self._edits.append(memory)
                entry.penalized, entry.banned, entry.edits = len(penalized), len(banned), memory.ctypes.data
                entry.repetition_penalty = wanted.repetition_penalty
