"""Other names, the same on both sides."""

from __future__ import annotations

from random import Random

import pytest

from pipelines.augment.german_english.naming import rename
from pipelines.augment.german_english.pairs import Pair


@pytest.mark.parametrize("seed", range(20))
def test_names_and_genitives(seed: int) -> None:
    pair = rename(Pair("Ich sah Tom bei Toms Auto in Rom.", "I saw Tom at Tom's car in Rome."), Random(seed))
    assert pair is not None
    name = pair.german.split("sah ")[1].split(" bei")[0]
    assert pair.english.startswith(f"I saw {name} at {name}'s car in ")
    assert f"bei {name}{chr(39) if name[-1] in 'sxzß' else 's'} Auto" in pair.german
    assert "Tom " not in pair.german
    assert "Herr" not in pair.german, "it would have to be Herrn"


@pytest.mark.parametrize(
    "pair",
    [Pair("Er sah Tom.", "He saw him."), Pair("Tom und Tomaten.", "Tom, Tom and tomatoes."), Pair("Guten Tag.", "Hello.")],
)
def test_left_alone(pair: Pair) -> None:
    assert rename(pair, Random(0)) is None


def test_the_same_by_the_same_seed() -> None:
    pair = Pair("Tom liebt Maria.", "Tom loves Mary.")
    assert rename(pair, Random(3)) == rename(pair, Random(3))
    assert len({rename(pair, Random(seed)) for seed in range(20)}) > 15
