from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.pytorch.candidates import MOST_RANKED, select_candidates
from serving.engine.runner import Wanted
from tests.serving.engine.lists import edits, listed, pairs


def test_the_best_of_each_row_equal_ones_by_token() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    (both,) = select_candidates(logits, [2], [Wanted(4)])
    assert listed(both) == ([[3.0, 3.0, 2.0, 2.0], [0.0] * 4], [[1, 3, 2, 4], [0, 1, 2, 3]])
    first, second = select_candidates(logits, [1, 1], [Wanted(1), Wanted(5)])
    assert listed(first) == ([[3.0]], [[1]])
    assert listed(second) == ([[0.0] * 5], [[0, 1, 2, 3, 4]])


@pytest.mark.parametrize("count", [MOST_RANKED, MOST_RANKED + 1])
def test_many_candidates_are_in_order(count: int) -> None:
    """Whole numbers, so that many are equal, a negative zero among zeros."""
    logits = torch.randint(-9, 9, (3, 1000), generator=torch.Generator().manual_seed(0)).float()
    logits[:, 7] = -0.0
    (found,) = select_candidates(logits, [3], [Wanted(count)])
    for row, tokens in zip(logits.tolist(), found.tokens.tolist(), strict=True):
        assert tokens == sorted(range(1000), key=lambda token, row=row: (-row[token], token))[:count]
    assert torch.equal(logits.gather(1, torch.from_numpy(found.tokens)), torch.from_numpy(found.values))


def test_penalties_then_bans_and_the_logits_are_left_alone() -> None:
    """1 had 3 and gets 1.5, 0 had -1 and gets -2, 2 is penalized and banned."""
    logits = torch.tensor([[-1.0, 3.0, 2.0]])
    penalized, banned = edits(1, [(0, 0), (0, 1), (0, 2)]), edits(1, [(0, 2)])
    wanted = Wanted(3, penalized=penalized, repetition_penalty=2.0, banned=banned)
    (found,) = select_candidates(logits, [1], [wanted])
    assert listed(found) == ([[1.5, -2.0, -math.inf]], [[1, 0, 2]])
    assert logits.tolist() == [[-1.0, 3.0, 2.0]]


def test_edits_of_one_source_are_not_those_of_another() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]]).expand(4, -1)
    wanted = [
        Wanted(1, banned=edits(2, [(1, 2)])),
        Wanted(1, penalized=edits(1, [(0, 2)]), repetition_penalty=4.0),
        Wanted(1, penalized=edits(1, [(0, 2)]), repetition_penalty=1.5),
    ]
    found = select_candidates(logits, [2, 1, 1], wanted)
    assert list(map(listed, found)) == [([[3.0], [2.0]], [[2], [1]]), ([[2.0]], [[1]]), ([[2.0]], [[1]])]


def test_log_probabilities_and_normalizers() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [100.0, 100.0]])
    likely, plain = select_candidates(logits, [1, 1], [Wanted(1, log_probabilities=True), Wanted(1, normalizers=True)])
    assert likely.values[0].tolist() == pytest.approx([math.log(0.75)])
    assert plain.values.tolist() == [[100.0]]
    assert plain.normalizers.tolist() == pytest.approx([100.0 + math.log(2.0)])


def test_normalizers_are_of_unedited_logits() -> None:
    (found,) = select_candidates(torch.zeros(1, 4), [1], [Wanted(1, normalizers=True, banned=edits(1, [(0, 0), (0, 1)]))])
    assert found.normalizers.tolist() == pytest.approx([math.log(4.0)])


def test_nothing_is_wanted_of_a_forced_token() -> None:
    logits = torch.tensor([[1.0, 2.0]]).expand(3, -1)
    found = select_candidates(logits, [2, 1], [Wanted(0), Wanted(1)])
    assert list(map(listed, found)) == [([[], []], [[], []]), ([[2.0]], [[1]])]


@pytest.mark.parametrize("wanted", [Wanted(1), Wanted(2), Wanted(3), Wanted(2, log_probabilities=True)])
def test_a_row_that_has_no_number_has_no_candidate_and_its_neighbour_has(wanted: Wanted) -> None:
    logits = torch.tensor([[1.0, math.nan, 2.0], [1.0, 3.0, 2.0]])
    broken, whole = select_candidates(logits, [1, 1], [wanted, wanted])
    (alone,) = select_candidates(logits[1:], [1], [wanted])
    assert all(math.isnan(value) for value in broken.values[0])
    assert listed(whole) == listed(alone)


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
            penalized=edits(rows[place], [(row, (row + place) % 8) for row in range(rows[place])]),
            repetition_penalty=1.0 + place / 4,
            banned=edits(rows[place], [(0, place)]),
        )
        for place, (_, count, log_probabilities, normalizers) in enumerate(sources)
    ]
    alone = [
        select_candidates(share, [len(share)], [each])[0]
        for share, each in zip(torch.split(logits, rows), wanted, strict=True)
    ]
    together = select_candidates(logits, rows, wanted)
    assert list(map(listed, together)) == list(map(listed, alone))
    for one, other, each in zip(together, alone, wanted, strict=True):
        assert not each.normalizers or one.normalizers.tolist() == other.normalizers.tolist()
    for candidates, each, share in zip(alone, wanted, torch.split(logits, rows), strict=True):
        values = share.log_softmax(-1) if each.log_probabilities else share.clone()
        for row, token in pairs(each.penalized):
            value = values[row, token]
            values[row, token] = value * each.repetition_penalty if value < 0 else value / each.repetition_penalty
        for row, token in pairs(each.banned):
            values[row, token] = -math.inf
        ranked = [sorted(range(8), key=lambda token, row=row: (-row[token], token)) for row in values.tolist()]
        assert candidates.tokens.tolist() == [tokens[: each.count] for tokens in ranked]
