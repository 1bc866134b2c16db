"""From logits to what the searches want of them, on the device: one upload of edits, one download of answers.

A value and its token are one whole number, so that topk has no ties to break: the bits of the value, made to sort as whole
numbers do, above those of the token counted backwards. The numbers that are downloaded are these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from serving.engine.cuda.device import Staging
from serving.engine.runner import Candidates, Wanted

_LAST_TOKEN = 2**32 - 1
_MAGNITUDE = 2**31 - 1
"""Every bit of a float32 but its sign."""


@dataclass
class _Plan:
    """What is wanted of a batch, as places in its logits."""

    rows_of_count: dict[int, list[int]] = field(default_factory=dict)
    """Rows that want so many candidates."""
    log_rows: list[int] = field(default_factory=list)
    penalized: list[int] = field(default_factory=list)
    """Places in the flattened logits, as are those in `banned`."""
    penalties: list[float] = field(default_factory=list)
    banned: list[int] = field(default_factory=list)

    def add(self, start: int, rows: int, wanted: Wanted, vocabulary: int) -> None:
        places = list(range(start, start + rows))
        self.rows_of_count.setdefault(wanted.count, []).extend(places)
        self.log_rows += places if wanted.log_probabilities else []
        self.penalized += [(start + row) * vocabulary + token for row, token in wanted.penalized]
        self.penalties += [wanted.repetition_penalty] * len(wanted.penalized)
        self.banned += [(start + row) * vocabulary + token for row, token in wanted.banned]


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
        plan.add(start, rows, each, logits.shape[1])
        start += rows
    answer = _answer(logits, plan, any(each.normalizers for each in wanted), staging).cpu()
    return _candidates(answer, plan, rows_per_source, wanted)


def _answer(logits: Tensor, plan: _Plan, normalizers: bool, staging: Staging) -> Tensor:
    """int64: the best keys of the rows of each count, then the bits of each row's normalizer if they are wanted."""
    penalty_bits = torch.tensor(plan.penalties, dtype=torch.float64).view(torch.int64)
    groups = [*plan.rows_of_count.values(), plan.log_rows, plan.penalized, plan.banned]
    lists = [torch.tensor(group, dtype=torch.int64) for group in groups]
    *rows, log_rows, penalized, banned, penalties = torch.split(
        staging.upload(torch.cat([*lists, penalty_bits])), [*map(len, groups), len(penalty_bits)]
    )
    parts = []
    values = logits
    if normalizers or plan.log_rows:
        values = torch.log_softmax(logits, -1)
        # As in the reference: read off log_softmax, whose sum runs over one row at a time.
        parts = [(logits.amax(-1) - values.amax(-1)).view(torch.int32).long()] if normalizers else []
        if len(plan.log_rows) < len(logits):
            values = logits.index_copy_(0, log_rows, values.index_select(0, log_rows))
    flat = values.view(-1)
    if plan.penalized:
        chosen, penalty = flat[penalized], penalties.view(torch.float64).float()
        flat[penalized] = torch.where(chosen < 0, chosen * penalty, chosen / penalty)
    if plan.banned:
        flat.index_fill_(0, banned, -torch.inf)
    if any(plan.rows_of_count):
        keys = _keys(values)
        best = [
            keys.index_select(0, group).topk(count).values for count, group in zip(plan.rows_of_count, rows, strict=True)
        ]
        parts = [*(group.flatten() for group in best), *parts]
    # Something is downloaded even where nothing is wanted: that is what the next upload waits for.
    return torch.cat(parts) if parts else rows[0]


def _keys(values: Tensor) -> Tensor:
    """float32 [rows, vocabulary] to int64 that sort by value and, where values are equal, by the smaller token id first."""
    # A negative zero equals a zero; adding one makes it one.
    bits = (values + 0.0).view(torch.int32)
    ordered = bits ^ ((bits >> 31) & _MAGNITUDE)
    tokens = torch.arange(values.shape[1], device=values.device)
    return ordered.long() * 2**32 + (_LAST_TOKEN - tokens)


def _candidates(answer: Tensor, plan: _Plan, rows_per_source: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
    """The downloaded numbers, sorted to their sources."""
    values: dict[int, list[float]] = {}
    tokens: dict[int, list[int]] = {}
    start = 0
    for count, rows in plan.rows_of_count.items():
        keys = answer[start : start + count * len(rows)].view(len(rows), count)
        ordered = keys >> 32
        bits = (ordered ^ ((ordered >> 31) & _MAGNITUDE)).int()
        values |= zip(rows, bits.view(torch.float32).tolist(), strict=True)
        tokens |= zip(rows, (_LAST_TOKEN - (keys & _LAST_TOKEN)).tolist(), strict=True)
        start += count * len(rows)
    normalizers: list[float] = answer[start:].int().view(torch.float32).tolist()
    found, first = [], 0
    for count, each in zip(rows_per_source, wanted, strict=True):
        own = range(first, first + count)
        logs = normalizers[first : first + count] if each.normalizers else []
        found.append(Candidates([values[row] for row in own], [tokens[row] for row in own], logs))
        first += count
    return found
