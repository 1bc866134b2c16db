"""The kernel's candidates are those of the reference's selection."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.native.selection import select_candidates
from serving.engine.pytorch import candidates as reference
from serving.engine.runner import Wanted


@st.composite
def wants(draw: st.DrawFn, rows: int, vocabulary: int) -> Wanted:
    pairs = st.lists(st.tuples(st.integers(0, rows - 1), st.integers(0, vocabulary - 1)), max_size=6, unique=True)
    return Wanted(
        count=draw(st.sampled_from([1, 2, 8, min(150, vocabulary), vocabulary])),
        log_probabilities=draw(st.booleans()),
        normalizers=draw(st.booleans()),
        penalized=draw(pairs),
        repetition_penalty=draw(st.sampled_from([1.3, 0.8])),
        banned=draw(pairs),
    )


@given(st.data())
def test_candidates_of_the_reference(data: st.DataObject) -> None:
    """Logits on a coarse grid, so that there are ties: the smaller token comes first."""
    vocabulary = data.draw(st.sampled_from([40, 203, 1000]))
    rows = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    wanted = [data.draw(wants(count, vocabulary)) for count in rows]
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    logits = (4 * torch.randn(sum(rows), vocabulary, generator=generator)).round() / 2
    expected = reference.select_candidates(logits.clone(), rows, wanted)
    found = select_candidates(logits, rows, wanted)
    for want, one, other in zip(wanted, found, expected, strict=True):
        assert one.tokens == other.tokens
        for values, others in zip(one.values, other.values, strict=True):
            # Logits are equal to the bit; a log-probability may differ in the last one of its normalizer.
            assert values == (pytest.approx(others, rel=1e-6, abs=1e-6) if want.log_probabilities else others)
        assert one.normalizers == pytest.approx(other.normalizers, rel=1e-6)


def test_by_hand() -> None:
    """Token 2 is halved by the penalty of 2, token 3 doubled since it is negative, token 0 banned."""
    logits = torch.tensor([[9.0, 1.0, 4.0, -1.0, 2.0]])
    want = Wanted(count=5, normalizers=True, penalized=[(0, 2), (0, 3)], repetition_penalty=2.0, banned=[(0, 0)])
    (found,) = select_candidates(logits, [1], [want])
    assert found.tokens == [[2, 4, 1, 3, 0]]
    assert found.values == [[2.0, 2.0, 1.0, -2.0, -math.inf]]
    assert found.normalizers == pytest.approx([math.log(sum(math.exp(each) for each in (9, 1, 4, -1, 2)))], rel=1e-6)


def test_a_normalizer_has_the_same_bits_in_any_batch() -> None:
    logits = torch.randn(40, 50_265) * 5
    want = Wanted(count=1, normalizers=True)
    together = select_candidates(logits.clone(), [1] * 40, [want] * 40)
    alone = [select_candidates(row[None].clone(), [1], [want])[0] for row in logits]
    assert together == alone
    exact = torch.logsumexp(logits.double(), -1).tolist()
    assert [each.normalizers[0] for each in together] == pytest.approx(exact, rel=2e-7)
