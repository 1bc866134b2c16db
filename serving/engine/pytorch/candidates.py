"""From logits to what the searches want of them: the reference of every runner's selection of candidates.

Rows that want the same are taken together, so that a batch of greedy requests costs a few operations and not a few a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from serving.engine.runner import Candidates, Wanted


def select_candidates(logits: Tensor, rows_per_source: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
    """Float32 logits [rows, vocabulary], rows lying source after source, to each source's candidates."""
    groups: dict[tuple[int, bool, bool], list[int]] = {}
    for source, each in enumerate(wanted):
        groups.setdefault((each.count, each.log_probabilities, each.normalizers), []).append(source)
    starts = [0]
    for rows in rows_per_source:
        starts.append(starts[-1] + rows)
    selected: dict[int, Candidates] = {}
    for members in groups.values():
        places = [row for source in members for row in range(starts[source], starts[source + 1])]
        together = logits if len(places) == len(logits) else logits[places]
        found = _of_rows(together, [rows_per_source[source] for source in members], [wanted[source] for source in members])
        selected |= zip(members, found, strict=True)
    return [selected[source] for source in range(len(wanted))]


def _of_rows(logits: Tensor, rows_per_source: list[int], wanted: list[Wanted]) -> list[Candidates]:
    """The same for sources that want equally many candidates of the same kind."""
    count, normalizers = wanted[0].count, [0.0] * len(logits) if not wanted[0].normalizers else log_normalizers(logits)
    if count:
        values = torch.log_softmax(logits, -1) if wanted[0].log_probabilities else logits
        best, tokens = _best(_edited(values, rows_per_source, wanted), count)
    else:
        best, tokens = [[] for _ in logits], [[] for _ in logits]
    found, start = [], 0
    for rows in rows_per_source:
        share = slice(start, start + rows)
        found.append(Candidates(best[share], tokens[share], normalizers[share] if wanted[0].normalizers else []))
        start += rows
    return found


def log_normalizers(logits: Tensor) -> list[float]:
    """Of each row the log of the summed exponentials, float32.

    Read off log_softmax, whose sum runs over one row at a time however many there are, which that of logsumexp does not.
    """
    return (logits.amax(-1) - torch.log_softmax(logits, -1).amax(-1)).tolist()


def _edited(values: Tensor, rows_per_source: list[int], wanted: list[Wanted]) -> Tensor:
    """Penalties, then bans; the values themselves are left as they are."""
    penalized: list[tuple[int, int, float]] = []
    banned: list[tuple[int, int]] = []
    start = 0
    for rows, each in zip(rows_per_source, wanted, strict=True):
        penalized += [(start + row, token, each.repetition_penalty) for row, token in each.penalized]
        banned += [(start + row, token) for row, token in each.banned]
        start += rows
    if penalized or banned:
        values = values.clone()
    if penalized:
        rows_of, tokens, penalties = (list(column) for column in zip(*penalized, strict=True))
        chosen, penalty = values[rows_of, tokens], torch.tensor(penalties, dtype=torch.float32)
        values[rows_of, tokens] = torch.where(chosen < 0, chosen * penalty, chosen / penalty)
    if banned:
        rows_of, tokens = (list(column) for column in zip(*banned, strict=True))
        values[rows_of, tokens] = -torch.inf
    return values


def _best(values: Tensor, count: int) -> tuple[list[list[float]], list[list[int]]]:
    """Of each row the best values and their tokens; topk leaves open which of equal ones it takes and in what order."""
    if count == 1:
        best, tokens = values.max(-1, keepdim=True)
        return best.tolist(), tokens.tolist()
    if count == values.shape[1]:
        best, tokens = values.sort(stable=True, dim=-1, descending=True)
        return best.tolist(), tokens.tolist()
    least = torch.topk(values, count).values[:, -1:]
    bests, all_tokens = [], []
    for row, reached in zip(values, values >= least, strict=True):
        places = reached.nonzero()[:, 0]
        best, order = row[places].sort(stable=True, descending=True)
        bests.append(best[:count].tolist())
        all_tokens.append(places[order[:count]].tolist())
    return bests, all_tokens
