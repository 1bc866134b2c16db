from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from serving.engine.cuda.candidates import select_candidates
from serving.engine.cuda.device import Staging
from serving.engine.pytorch import candidates as reference
from serving.engine.runner import Candidates, Wanted

VOCABULARY = 203
INFINITY = float("inf")


def select(logits: torch.Tensor, rows_per_source: list[int], wanted: list[Wanted]) -> list[Candidates]:
    padded = functional.pad(logits, (0, -logits.shape[1] % 16), value=-torch.inf)
    return select_candidates(padded, rows_per_source, wanted, Staging(torch.device("cpu")))


@st.composite
def wishes(draw: st.DrawFn, rows: int) -> Wanted:
    places = st.lists(st.tuples(st.integers(0, rows - 1), st.integers(0, VOCABULARY - 1)), unique=True, max_size=30)
    return Wanted(
        count=draw(st.sampled_from([0, 1, 1, 2, 8, 50, VOCABULARY])),
        log_probabilities=draw(st.booleans()),
        normalizers=draw(st.booleans()),
        penalized=draw(places),
        repetition_penalty=draw(st.sampled_from([0.7, 1.0, 1.3])),
        banned=draw(places),
    )


@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=5), st.booleans(), st.integers(0, 2**31))
def test_the_references_bits(data: st.DataObject, rows_per_source: list[int], ties: bool, seed: int) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(sum(rows_per_source), VOCABULARY) * 4
    logits = logits.round() if ties else logits
    wanted = [data.draw(wishes(rows)) for rows in rows_per_source]
    expected = reference.select_candidates(logits, rows_per_source, wanted)
    assert select(logits, rows_per_source, wanted) == expected


def test_by_hand() -> None:
    """Equal values by the smaller id, a negative zero being a zero; penalties divide, or multiply what is negative."""
    logits = torch.tensor([[0.0, 3.0, -0.0, 3.0, -2.0], [9.0, -4.0, 4.0, 1.0, 8.0]])
    first = Wanted(count=5)
    second = Wanted(count=4, penalized=[(0, 1), (0, 2), (0, 0)], repetition_penalty=2.0, banned=[(0, 0), (0, 3)])
    assert select(logits, [1, 1], [first, second]) == [
        Candidates([[3.0, 3.0, 0.0, 0.0, -2.0]], [[1, 3, 0, 2, 4]], []),
        Candidates([[8.0, 2.0, -8.0, -INFINITY]], [[4, 2, 1, 0]], []),
    ]


def test_normalizers_by_hand() -> None:
    """Four equal logits of 0 sum to 4; edits do not count."""
    logits = torch.tensor([[0.0] * 4 + [-torch.inf] * 12])
    (found,) = select(logits, [1], [Wanted(count=0, normalizers=True, banned=[(0, 0)])])
    assert found == Candidates([[]], [[]], [float(torch.tensor(4.0).log())])
