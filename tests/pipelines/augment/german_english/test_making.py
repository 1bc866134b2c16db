"""Pairs made of pairs: as many as are asked for, the same again by the same seed, whatever else is made."""

from __future__ import annotations

import pytest

from pipelines.augment.german_english.making import Shares, composed, copies, joined
from pipelines.augment.german_english.pairs import Pair

CORPUS = [
    Pair("Tom hat 3 Hunde.", "Tom has 3 dogs."),
    Pair("Der Mann schläft.", "The man sleeps."),
    Pair("Wer ist da?", "Who is there?"),
]
ALL, NONE = Shares(rename=1, renumber=1, unended=1), Shares(rename=0, renumber=0, unended=0)


def test_copies() -> None:
    made = list(copies(CORPUS, 3, ALL, seed=1))
    assert made == list(copies(CORPUS, 3, ALL, seed=1)) != list(copies(CORPUS, 3, ALL, seed=2))
    assert len(set(made[::3])) == 3
    assert not any("Tom" in pair.german or pair.german.endswith(".") for pair in made)
    assert made[1::3] == [Pair("Der Mann schläft", "The man sleeps")] * 3
    assert list(copies(CORPUS, 2, NONE, seed=1)) == CORPUS * 2


def test_a_row_does_not_depend_on_the_others() -> None:
    assert list(copies(CORPUS, 1, ALL, seed=1)) == list(copies(CORPUS, 2, ALL, seed=1))[:3]
    assert list(joined(CORPUS, 3, 20, ALL, seed=1)) == list(joined(CORPUS, 9, 20, ALL, seed=1))[:3]
    assert list(composed(3, NONE, seed=1)) == list(composed(9, NONE, seed=1))[:3]


def test_joined_texts_are_bounded() -> None:
    made = list(joined(CORPUS, 200, 12, NONE, seed=0))
    assert len(made) == 200
    assert max(len(side.split()) for pair in made for side in pair) <= 12
    assert any("hat 3 Hunde" in pair.german and "Der Mann schläft" in pair.german for pair in made)
    with pytest.raises(ValueError, match="at most 1 words"):
        list(joined(CORPUS, 1, 1, NONE, seed=0))
