from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from serving.engine.cuda.candidates import select_candidates
from serving.engine.cuda.device import Staging
from serving.engine.pytorch import candidates as reference
from serving.engine.runner import Candidates, Draws, Wanted
from tests.serving.engine.lists import edits, listed

VOCABULARY = 203
INFINITY = float("inf")


def select(logits: torch.Tensor, rows_per_source: list[int], wanted: list[Wanted]) -> list[Candidates]:
    padded = functional.pad(logits, (0, -logits.shape[1] % 16), value=-torch.inf)
    return select_candidates(padded, rows_per_source, wanted, Staging(torch.device("cpu")))


@st.composite
def wishes(draw: st.DrawFn, rows: int) -> Wanted:
    places = st.lists(st.tuples(st.integers(0, rows - 1), st.integers(0, VOCABULARY - 1)), unique=True, max_size=30)
    count = draw(st.sampled_from([0, 1, 1, 2, 8, 50, VOCABULARY]))
    number = st.floats(0, 1, exclude_max=True)
    drawing = st.builds(
        Draws,
        temperature=st.sampled_from([0.5, 1.0]),
        top_k=st.sampled_from([0, 100]),
        top_p=st.sampled_from([0.8, 1.0]),
        numbers=st.lists(st.lists(number, min_size=1, max_size=1), min_size=rows, max_size=rows),
    )
    return Wanted(
        count=count,
        log_probabilities=draw(st.booleans()),
        normalizers=draw(st.booleans()),
        draws=draw(st.none() | drawing) if count == 1 else None,
        penalized=edits(rows, draw(places)),
        repetition_penalty=draw(st.sampled_from([0.7, 1.0, 1.3])),
        banned=edits(rows, draw(places)),
    )


@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=5), st.booleans(), st.integers(0, 2**31))
def test_the_references_bits(data: st.DataObject, rows_per_source: list[int], ties: bool, seed: int) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(sum(rows_per_source), VOCABULARY) * 4
    logits = logits.round() if ties else logits
    wanted = [data.draw(wishes(rows)) for rows in rows_per_source]
    expected = reference.select_candidates(logits, rows_per_source, wanted)
    for want, one, other in zip(wanted, select(logits, rows_per_source, wanted), expected, strict=True):
        assert listed(one) == listed(other)
        assert not want.normalizers or one.normalizers.tolist() == other.normalizers.tolist()


def test_by_hand() -> None:
    """Equal values by the smaller id, a negative zero being a zero; penalties divide, or multiply what is negative."""
    logits = torch.tensor([[0.0, 3.0, -0.0, 3.0, -2.0], [9.0, -4.0, 4.0, 1.0, 8.0]])
    first = Wanted(count=5)
    second = Wanted(
        count=4, penalized=edits(1, [(0, 1), (0, 2), (0, 0)]), repetition_penalty=2.0, banned=edits(1, [(0, 0), (0, 3)])
    )
    assert list(map(listed, select(logits, [1, 1], [first, second]))) == [
        ([[3.0, 3.0, 0.0, 0.0, -2.0]], [[1, 3, 0, 2, 4]]),
        ([[8.0, 2.0, -8.0, -INFINITY]], [[4, 2, 1, 0]]),
    ]


def test_normalizers_by_hand() -> None:
    """Four equal logits of 0 sum to 4; edits do not count."""
    logits = torch.tensor([[0.0] * 4 + [-torch.inf] * 12])
    (found,) = select(logits, [1], [Wanted(count=0, normalizers=True, banned=edits(1, [(0, 0)]))])
    assert found.normalizers.tolist() == [float(torch.tensor(4.0).log())]
    assert listed(found) == ([[]], [[]])


def test_a_row_that_has_no_number_has_no_candidate_and_its_neighbour_has() -> None:
    logits = torch.tensor([[1.0, torch.nan, 2.0], [1.0, 3.0, 2.0]])
    for wanted in (Wanted(2), Wanted(2, log_probabilities=True), Wanted(1, draws=Draws(1.0, 0, 1.0, [[0.5]]))):
        broken, whole = select(logits.clone(), [1, 1], [wanted, wanted])
        (alone,) = select(logits[1:].clone(), [1], [wanted])
        assert all(value != value for value in broken.values[0])
        assert listed(whole) == listed(alone)
