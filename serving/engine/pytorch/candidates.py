"""From logits to what the searches want of them: the reference of every runner's selection of candidates.

Rows that want the same are taken together, so that a batch of greedy requests costs a few operations and not a few a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from serving.engine.pytorch.draws import drawn
from serving.engine.pytorch.ranking import descending, keys_of, tokens_of, values_of
from serving.engine.runner import Candidates, Draws, Edits, Wanted

MOST_RANKED = 256
"""Candidates of a row up to which the best are taken out of it; beyond, all of it is sorted."""


class _Kind(NamedTuple):
    """What sources must have in common to be answered together."""

    candidates: int
    log_probabilities: bool
    normalizers: bool
    draws: bool


def select_candidates(logits: Tensor, rows_per_source: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
    """Float32 logits [rows, vocabulary], rows lying source after source, to each source's candidates."""
    groups: dict[_Kind, list[int]] = {}
    for source, each in enumerate(wanted):
        kind = _Kind(each.count, each.log_probabilities, each.normalizers, each.draws is not None)
        groups.setdefault(kind, []).append(source)
    starts = np.cumsum([0, *rows_per_source]).tolist()
    selected: dict[int, Candidates] = {}
    for kind, members in groups.items():
        places = [row for source in members for row in range(starts[source], starts[source + 1])]
        together = logits if len(places) == len(logits) else logits[places]
        found = _of_rows(together, kind, [rows_per_source[source] for source in members], [wanted[each] for each in members])
        selected |= zip(members, found, strict=True)
    return [selected[source] for source in range(len(wanted))]


def _of_rows(logits: Tensor, kind: _Kind, rows_per_source: list[int], wanted: list[Wanted]) -> list[Candidates]:
    """The same for sources that want equally many candidates of the same kind."""
    normalizers = log_normalizers(logits) if kind.normalizers else torch.empty(len(logits))
    best, tokens = torch.empty(len(logits), 0), torch.empty(len(logits), 0, dtype=torch.int64)
    if kind.candidates:
        values = torch.log_softmax(logits, -1) if kind.log_probabilities else logits
        values = _edited(values, rows_per_source, wanted)
        if kind.draws:
            keys = drawn(values, draws_of_rows(rows_per_source, wanted))
            best, tokens = values_of(keys), tokens_of(keys)
        else:
            best, tokens = _best(values, kind.candidates)
        best = best.masked_fill(~(logits < torch.inf).all(-1, keepdim=True), torch.nan)
    split = (torch.split(each, rows_per_source) for each in (best, tokens, normalizers))
    return [Candidates(*(part.numpy() for part in parts)) for parts in zip(*split, strict=True)]


def log_normalizers(logits: Tensor) -> Tensor:
    """Of each row the log of the summed exponentials, float32.

    Read off log_softmax, whose sum runs over one row at a time however many there are, which that of logsumexp does not.
    """
    return logits.amax(-1) - torch.log_softmax(logits, -1).amax(-1)


def draws_of_rows(rows_per_source: Sequence[int], wanted: Sequence[Wanted]) -> list[Draws]:
    """How each row of sources that draw is drawn from, with its own numbers."""
    return [
        each.draws._replace(numbers=[numbers])
        for rows, each in zip(rows_per_source, wanted, strict=True)
        if each.draws is not None
        for numbers in each.draws.numbers[:rows]
    ]


def places_of(edits: Sequence[Edits | None], rows_per_source: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rows and tokens, int64, of the edits of each source, rows counted through all of them."""
    starts = np.cumsum([0, *rows_per_source])
    given = [(start, each) for start, each in zip(starts, edits, strict=False) if each is not None]
    if not given:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    rows = [np.repeat(np.arange(start, start + len(each.counts)), each.counts) for start, each in given]
    return torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate([each.tokens for _, each in given]))


def penalties_of(wanted: Sequence[Wanted]) -> Tensor:
    """The penalty of each penalized value, float32, in the order of `places_of`."""
    given = [(each.repetition_penalty, len(each.penalized.tokens)) for each in wanted if each.penalized is not None]
    return torch.from_numpy(np.repeat([penalty for penalty, _ in given], [count for _, count in given])).float()


def _edited(values: Tensor, rows_per_source: list[int], wanted: list[Wanted]) -> Tensor:
    """Penalties, then bans; the values themselves are left as they are."""
    penalized = places_of([each.penalized for each in wanted], rows_per_source)
    banned = places_of([each.banned for each in wanted], rows_per_source)
    if len(penalized[0]) or len(banned[0]):
        values = values.clone()
    if len(penalized[0]):
        chosen, penalty = values[penalized], penalties_of(wanted)
        values[penalized] = torch.where(chosen < 0, chosen * penalty, chosen / penalty)
    if len(banned[0]):
        values[banned] = -torch.inf
    return values


def _best(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Of each row the best values and their tokens; topk leaves open which of equal ones it takes and in what order."""
    if count == 1:
        best, tokens = values.max(-1, keepdim=True)
        return best, tokens
    keys = keys_of(values)
    best_keys = keys.topk(count).values if count <= MOST_RANKED else descending(keys)[:, :count]
    return values_of(best_keys), tokens_of(best_keys)
