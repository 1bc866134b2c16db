from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.pytorch.candidates import select_candidates
from serving.engine.runner import Candidates, Wanted


def test_the_best_of_each_row_equal_ones_by_token() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert select_candidates(logits, [2], [Wanted(4)]) == [
        Candidates([[3.0, 3.0, 2.0, 2.0], [0.0] * 4], [[1, 3, 2, 4], [0, 1, 2, 3]], [])
    ]
    assert select_candidates(logits, [1, 1], [Wanted(1), Wanted(5)]) == [
        Candidates([[3.0]], [[1]], []),
        Candidates([[0.0] * 5], [[0, 1, 2, 3, 4]], []),
    ]


def test_penalties_then_bans_and_the_logits_are_left_alone() -> None:
    """1 had 3 and gets 1.5, 0 had -1 and gets -2, 2 is penalized and banned."""
    logits = torch.tensor([[-1.0, 3.0, 2.0]])
    wanted = Wanted(3, penalized=[(0, 0), (0, 1), (0, 2)], repetition_penalty=2.0, banned=[(0, 2)])
    assert select_candidates(logits, [1], [wanted]) == [Candidates([[1.5, -2.0, -math.inf]], [[1, 0, 2]], [])]
    assert logits.tolist() == [[-1.0, 3.0, 2.0]]


def test_edits_of_one_source_are_not_those_of_another() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]]).expand(4, -1)
    wanted = [
        Wanted(1, banned=[(1, 2)]),
        Wanted(1, penalized=[(0, 2)], repetition_penalty=4.0),
        Wanted(1, penalized=[(0, 2)], repetition_penalty=1.5),
    ]
    tokens = [candidates.tokens for candidates in select_candidates(logits, [2, 1, 1], wanted)]
    assert tokens == [[[2], [1]], [[1]], [[1]]]
    values = [candidates.values for candidates in select_candidates(logits, [2, 1, 1], wanted)]
    assert values == [[[3.0], [2.0]], [[2.0]], [[2.0]]]


def test_log_probabilities_and_normalizers() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [100.0, 100.0]])
    likely, plain = select_candidates(logits, [1, 1], [Wanted(1, log_probabilities=True), Wanted(1, normalizers=True)])
    assert likely.values == [pytest.approx([math.log(0.75)])]
    assert likely.normalizers == []
    assert plain.values == [[100.0]]
    assert plain.normalizers == pytest.approx([100.0 + math.log(2.0)])


def test_normalizers_are_of_unedited_logits() -> None:
    (found,) = select_candidates(torch.zeros(1, 4), [1], [Wanted(1, normalizers=True, banned=[(0, 0), (0, 1)])])
    assert found.normalizers == pytest.approx([math.log(4.0)])


def test_nothing_is_wanted_of_a_forced_token() -> None:
    logits = torch.tensor([[1.0, 2.0]]).expand(3, -1)
    found = select_candidates(logits, [2, 1], [Wanted(0), Wanted(1)])
    assert found == [Candidates([[], []], [[], []], []), Candidates([[2.0]], [[1]], [])]


@given(
    seed=st.integers(0, 2**32 - 1),
    sources=st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from([0, 1, 2, 5, 8]), st.booleans(), st.booleans()), min_size=1, max_size=5
    ),
)
def test_a_source_gets_the_same_alone(seed: int, sources: list[tuple[int, int, bool, bool]]) -> None:
    """Among others, whose wishes are taken together with its own; logits are few, so that many are equal."""
    generator = torch.Generator().manual_seed(seed)
    rows = [source[0] for source in sources]
    logits = torch.randint(-2, 3, (sum(rows), 8), generator=generator).float()
    wanted = [
        Wanted(
            count,
            log_probabilities,
            normalizers,
            penalized=[(row, (row + place) % 8) for row in range(rows[place])],
            repetition_penalty=1.0 + place / 4,
            banned=[(0, place)],
        )
        for place, (_, count, log_probabilities, normalizers) in enumerate(sources)
    ]
    alone = [
        select_candidates(share, [len(share)], [each])[0]
        for share, each in zip(torch.split(logits, rows), wanted, strict=True)
    ]
    assert select_candidates(logits, rows, wanted) == alone
    for candidates, each, share in zip(alone, wanted, torch.split(logits, rows), strict=True):
        values = share.log_softmax(-1) if each.log_probabilities else share.clone()
        for row, token in each.penalized:
            value = values[row, token]
            values[row, token] = value * each.repetition_penalty if value < 0 else value / each.repetition_penalty
        for row, token in each.banned:
            values[row, token] = -math.inf
        ranked = [sorted(range(8), key=lambda token, row=row: (-row[token], token)) for row in values.tolist()]
        assert candidates.tokens == [tokens[: each.count] for tokens in ranked]
