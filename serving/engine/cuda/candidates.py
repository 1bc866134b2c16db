"""From logits to what the searches want of them, on the device: one upload of edits, one download of answers.

What is downloaded are keys (pytorch/ranking.py), which say both a value and its token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from serving.engine.cuda.device import Staging
from serving.engine.pytorch.candidates import draws_of_rows, penalties_of, places_of
from serving.engine.pytorch.draws import drawn
from serving.engine.pytorch.ranking import keys_of, tokens_of, values_of
from serving.engine.runner import Candidates, Draws, Wanted


class _Kind(NamedTuple):
    """What rows must have in common to be answered together."""

    candidates: int
    draws: bool


@dataclass
class _Plan:
    """What is wanted of a batch."""

    rows: dict[_Kind, list[int]] = field(default_factory=dict)
    log_rows: list[int] = field(default_factory=list)
    draws: dict[_Kind, list[Draws]] = field(default_factory=dict)

    def add(self, start: int, rows: int, wanted: Wanted) -> None:
        kind, places = _Kind(wanted.count, wanted.draws is not None), list(range(start, start + rows))
        self.rows.setdefault(kind, []).extend(places)
        self.draws.setdefault(kind, []).extend(draws_of_rows([rows], [wanted]))
        self.log_rows += places if wanted.log_probabilities else []


def select_candidates(
    logits: Tensor, rows_per_source: Sequence[int], wanted: Sequence[Wanted], staging: Staging
) -> list[Candidates]:
    """As `serving.engine.pytorch.candidates`, with the same bits; logits may be edited in place.

    Logits are float32 [rows, vocabulary], padded beyond the vocabulary with -inf to a multiple of 16: on a GPU the order in
    which a log-softmax sums depends on where in memory a row begins, which is so the same for every row.
    """
    plan = _Plan()
    start = 0
    for rows, each in zip(rows_per_source, wanted, strict=True):
        plan.add(start, rows, each)
        start += rows
    answer = _answer(logits, plan, rows_per_source, wanted, staging).cpu()
    return _candidates(answer, plan, rows_per_source, wanted)


def _answer(
    logits: Tensor, plan: _Plan, rows_per_source: Sequence[int], wanted: Sequence[Wanted], staging: Staging
) -> Tensor:
    """int64: the keys of the rows of each kind, then of each row whether its logits are numbers, and last the bits of each
    row's normalizer if they are wanted."""
    normalizers = any(each.normalizers for each in wanted)
    edits = (places_of([getattr(each, kind) for each in wanted], rows_per_source) for kind in ("penalized", "banned"))
    penalized, banned = (rows * logits.shape[1] + tokens for rows, tokens in edits)
    groups = [*(torch.tensor(rows) for rows in plan.rows.values()), torch.tensor(plan.log_rows, dtype=torch.int64)]
    lists = [*groups, penalized, banned, penalties_of(wanted).double().view(torch.int64)]
    *rows_of_kinds, log_rows, penalized, banned, penalties = torch.split(
        staging.upload(torch.cat(lists)), [len(each) for each in lists]
    )
    are_numbers = (logits < torch.inf).all(-1)
    parts = [are_numbers.long()]
    values = logits
    if normalizers or plan.log_rows:
        values = torch.log_softmax(logits, -1)
        # As in the reference: read off log_softmax, whose sum runs over one row at a time.
        parts += [(logits.amax(-1) - values.amax(-1)).view(torch.int32).long()] if normalizers else []
        if len(plan.log_rows) < len(logits):
            values = logits.index_copy_(0, log_rows, values.index_select(0, log_rows))
    flat = values.view(-1)
    if len(penalized):
        chosen, penalty = flat[penalized], penalties.view(torch.float64).float()
        flat[penalized] = torch.where(chosen < 0, chosen * penalty, chosen / penalty)
    if len(banned):
        flat.index_fill_(0, banned, -torch.inf)
    found = []
    for (kind, draws), rows in zip(plan.draws.items(), rows_of_kinds, strict=True):
        if kind.draws:
            found.append(drawn(values.index_select(0, rows), draws).flatten())
        elif kind.candidates:
            found.append(keys_of(values.index_select(0, rows)).topk(kind.candidates).values.flatten())
    return torch.cat([*found, *parts])


def _candidates(answer: Tensor, plan: _Plan, rows_per_source: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
    """The downloaded numbers, sorted to their sources."""
    keys: dict[int, Tensor] = {}
    start, total = 0, sum(rows_per_source)
    for kind, rows in plan.rows.items():
        size = kind.candidates * len(rows)
        keys |= zip(rows, answer[start : start + size].view(len(rows), kind.candidates), strict=True)
        start += size
    not_numbers = answer[start : start + total, None] == 0
    normalizers = answer[start + total :].int().view(torch.float32)
    found, first = [], 0
    for count, each in zip(rows_per_source, wanted, strict=True):
        own = slice(first, first + count)
        of_rows = torch.stack([keys[row] for row in range(first, first + count)])
        values = values_of(of_rows).masked_fill(not_numbers[own], torch.nan)
        logs = normalizers[own] if each.normalizers else torch.empty(count)
        found.append(Candidates(values.numpy(), tokens_of(of_rows).numpy(), logs.numpy()))
        first += count
    return found
