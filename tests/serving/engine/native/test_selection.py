"""The candidates that the head's kernel finds are those of the reference's selection from the reference's logits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quant.numerics import Quantized, quantize_activation, quantized_linear
from serving.engine.native.buffers import Buffers
from serving.engine.native.linear import PackedLinear
from serving.engine.native.selection import MOST_SCANNED, Selection
from serving.engine.pytorch import candidates as reference
from serving.engine.runner import Draws, Wanted
from serving.engine.threads import set_threads
from tests.serving.engine.lists import edits, listed

COLUMNS = 16


def selection(weight: Quantized) -> Selection:
    return Selection(PackedLinear([weight], [], 2), Buffers())


def logits_of(weight: Quantized, hidden: torch.Tensor) -> torch.Tensor:
    return quantized_linear(quantize_activation(hidden), weight, None)


def as_head(logits: list[float]) -> tuple[Quantized, torch.Tensor]:
    """A head and one row of hidden values with these logits."""
    weight = Quantized(torch.zeros(len(logits), COLUMNS, dtype=torch.int8), torch.tensor(logits).abs()[:, None])
    weight.codes[:, 0] = torch.tensor(logits).sign().to(torch.int8)
    return weight, torch.tensor([[1.0] + [0.0] * (COLUMNS - 1)])


@st.composite
def wants(draw: st.DrawFn, rows: int, vocabulary: int) -> Wanted:
    pairs = st.lists(st.tuples(st.integers(0, rows - 1), st.integers(0, vocabulary - 1)), max_size=6, unique=True)
    return Wanted(
        count=draw(st.sampled_from([0, 1, 2, 8, min(MOST_SCANNED, vocabulary), min(150, vocabulary), vocabulary])),
        log_probabilities=draw(st.booleans()),
        normalizers=draw(st.booleans()),
        penalized=edits(rows, draw(pairs)),
        repetition_penalty=draw(st.sampled_from([1.3, 0.8])),
        banned=edits(rows, draw(pairs)),
    )


@given(st.data())
def test_candidates_of_the_reference(data: st.DataObject) -> None:
    """Few distinct weights, so that there are many ties: the smaller token comes first."""
    vocabulary = data.draw(st.sampled_from([40, 203, 1000, 1025]))
    rows = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    wanted = [data.draw(wants(count, vocabulary)) for count in rows]
    set_threads(data.draw(st.sampled_from([1, 2])))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    codes = torch.randint(-1, 2, (vocabulary, COLUMNS), dtype=torch.int8, generator=generator)
    weight = Quantized(codes, torch.full((vocabulary, 1), 0.25))
    hidden = torch.randint(-3, 4, (sum(rows), COLUMNS), generator=generator).float()
    expected = reference.select_candidates(logits_of(weight, hidden), rows, wanted)
    found = selection(weight)(hidden, rows, wanted)
    for want, one, other in zip(wanted, found, expected, strict=True):
        if want.normalizers:
            assert one.normalizers.tolist() == pytest.approx(other.normalizers.tolist(), rel=1e-6)
        if not want.log_probabilities:
            assert listed(one) == listed(other)
            continue
        # A normalizer may differ in its last bit, so that log-probabilities differ, and ties of penalized ones may break.
        for values, others in zip(one.values.tolist(), other.values.tolist(), strict=True):
            assert values == pytest.approx(others, rel=1e-5, abs=1e-5)
        if not want.penalized:
            assert one.tokens.tolist() == other.tokens.tolist()


def test_by_hand() -> None:
    """Token 2 is halved by the penalty of 2, token 3 doubled since it is negative, token 0 banned."""
    weight, hidden = as_head([9.0, 1.0, 4.0, -1.0, 2.0])
    penalized, banned = edits(1, [(0, 2), (0, 3)]), edits(1, [(0, 0)])
    want = Wanted(count=5, normalizers=True, penalized=penalized, repetition_penalty=2.0, banned=banned)
    (found,) = selection(weight)(hidden, [1], [want])
    assert listed(found) == ([[2.0, 2.0, 1.0, -2.0, -math.inf]], [[2, 4, 1, 3, 0]])
    assert found.normalizers.tolist() == pytest.approx(
        [math.log(sum(math.exp(each) for each in (9, 1, 4, -1, 2)))], rel=1e-6
    )


def test_a_ban_wins_over_a_penalty() -> None:
    weight, hidden = as_head([3.0, 2.0])
    want = Wanted(count=2, penalized=edits(1, [(0, 0)]), repetition_penalty=1.1, banned=edits(1, [(0, 0)]))
    (found,) = selection(weight)(hidden, [1], [want])
    assert listed(found) == ([[2.0, -math.inf]], [[1, 0]])


@pytest.mark.parametrize("count", [0, 1, 4, MOST_SCANNED + 1])
@pytest.mark.parametrize("log_probabilities", [False, True])
def test_a_row_of_no_numbers_has_no_candidate_and_its_neighbour_has(count: int, log_probabilities: bool) -> None:
    """An infinity or a NaN among hidden values makes every logit of its row one."""
    weight = Quantized(torch.ones(200, COLUMNS, dtype=torch.int8), torch.rand(200, 1))
    hidden = torch.randn(3, COLUMNS)
    hidden[0, 3], hidden[2, 5] = math.nan, math.inf
    wanted = [Wanted(count, log_probabilities)] * 3
    broken, whole, infinite = selection(weight)(hidden, [1, 1, 1], wanted)
    (alone,) = selection(weight)(hidden[1:2], [1], wanted[:1])
    assert listed(whole) == listed(alone)
    for row in (*broken.values, *infinite.values):
        assert not any(value < math.inf for value in row)
    for row in (*broken.tokens, *infinite.tokens):
        assert all(0 <= token < 200 for token in row)


@st.composite
def drawing(draw: st.DrawFn, rows: int, vocabulary: int) -> Wanted:
    pairs = st.lists(st.tuples(st.integers(0, rows - 1), st.integers(0, vocabulary - 1)), max_size=6)
    count = draw(st.integers(1, 3))
    numbers = st.lists(st.floats(0, 1, exclude_max=True), min_size=count, max_size=count)
    return Wanted(
        count=count,
        normalizers=draw(st.booleans()),
        penalized=edits(rows, draw(pairs)),
        repetition_penalty=draw(st.sampled_from([1.3, 0.8])),
        banned=edits(rows, draw(pairs)),
        draws=Draws(
            temperature=draw(st.sampled_from([1.0, 0.3, 2.5, 5e-324, 1e308])),
            top_k=draw(st.sampled_from([0, 1, 150, vocabulary, vocabulary + 1])),
            top_p=draw(st.sampled_from([1.0, 0.999, 0.7, 0.01])),
            numbers=draw(st.lists(numbers, min_size=rows, max_size=rows)),
        ),
    )


@given(st.data())
def test_draws_of_the_reference(data: st.DataObject) -> None:
    """To the last bit, among rows that want the best, with ties."""
    vocabulary = data.draw(st.sampled_from([40, 203, 1000, 1025]))
    rows = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    wanted = [
        data.draw(drawing(count, vocabulary) if data.draw(st.booleans()) else wants(count, vocabulary)) for count in rows
    ]
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    codes = torch.randint(-1, 2, (vocabulary, COLUMNS), dtype=torch.int8, generator=generator)
    weight = Quantized(codes, data.draw(st.sampled_from([0.25, 0.01, 3.0])) * torch.ones(vocabulary, 1))
    hidden = torch.randn(sum(rows), COLUMNS, generator=generator)
    expected = reference.select_candidates(logits_of(weight, hidden), rows, wanted)
    for want, one, other in zip(wanted, selection(weight)(hidden, rows, wanted), expected, strict=True):
        assert want.draws is None or listed(one) == listed(other)
        if want.draws is not None and want.normalizers:
            assert one.normalizers.tolist() == pytest.approx(other.normalizers.tolist(), rel=1e-6)


def test_the_same_bits_in_any_batch_and_on_any_number_of_threads() -> None:
    """Whether few or many candidates are wanted of a row, its normalizer is summed in the same order."""
    weight = Quantized(torch.randint(-1, 2, (20_000, 64), dtype=torch.int8), 0.01 + torch.rand(20_000, 1))
    hidden = torch.randn(40, 64)
    wanted = [Wanted(count=3, log_probabilities=row % 2 == 0, normalizers=True) for row in range(40)]
    set_threads(2)
    together = selection(weight)(hidden, [1] * 40, wanted)
    set_threads(1)
    alone = [selection(weight)(hidden[row : row + 1], [1], wanted[row : row + 1])[0] for row in range(40)]
    assert list(map(listed, together)) == list(map(listed, alone))
    assert [each.normalizers for each in together] == [each.normalizers for each in alone]
    many = selection(weight)(hidden, [1] * 40, [Wanted(count=MOST_SCANNED + 1, normalizers=True)] * 40)
    assert [each.normalizers for each in many] == [each.normalizers for each in together]
    exact = torch.logsumexp(logits_of(weight, hidden).double(), -1).tolist()
    assert [each.normalizers[0] for each in together] == pytest.approx(exact, rel=2e-7)
