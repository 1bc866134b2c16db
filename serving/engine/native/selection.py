"""Candidates from logits: what the searches want, as the kernel takes it, and its answer as they read it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from serving.engine.native.library import DqWanted, kernels
from serving.engine.runner import Candidates, Wanted


def select_candidates(logits: Tensor, rows: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
    """Edits float32 logits [rows, vocabulary] where they lie; `rows` are those of each request."""
    total, vocabulary = logits.shape
    asked = (DqWanted * total)()
    kept = []  # the edits' memory, until the kernel has read it
    first = 0
    for count, want in zip(rows, wanted, strict=True):
        edits: list[list[list[int]]] = [[[], []] for _ in range(count)]
        for kind, pairs in enumerate((want.penalized, want.banned)):
            for row, token in pairs:
                edits[row][kind].append(token)
        for row, (penalized, banned) in enumerate(edits):
            entry = asked[first + row]
            entry.count, entry.log_probabilities, entry.normalizer = want.count, want.log_probabilities, want.normalizers
            if penalized or banned:
                memory = np.array(penalized + banned, dtype=np.int64)
                kept.append(memory)
                entry.penalized, entry.banned, entry.edits = len(penalized), len(banned), memory.ctypes.data
                entry.repetition_penalty = want.repetition_penalty
        first += count
    most = max(want.count for want in wanted)
    values, normalizers = np.empty((total, most), np.float32), np.empty(total, np.float32)
    tokens = np.empty((total, most), np.int64)
    kernels().dq_select(
        logits.data_ptr(),
        total,
        vocabulary,
        asked,
        most,
        values.ctypes.data,
        tokens.ctypes.data,
        normalizers.ctypes.data,
        torch.get_num_threads(),
    )
    found, first = [], 0
    for count, want in zip(rows, wanted, strict=True):
        part = slice(first, first + count)
        best = values[part, : want.count].tolist(), tokens[part, : want.count].tolist()
        found.append(Candidates(*best, normalizers[part].tolist() if want.normalizers else []))
        first += count
    return found
