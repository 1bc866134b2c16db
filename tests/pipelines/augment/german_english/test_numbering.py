"""Other numbers, the same on both sides."""

from __future__ import annotations

import re
from random import Random

import pytest

from pipelines.augment.german_english.numbering import decimals, renumber, whole_numbers
from pipelines.augment.german_english.pairs import Pair


def test_numbers_as_the_two_languages_write_them() -> None:
    assert whole_numbers(1500) == ("1.500", "1,500")
    assert decimals(1500, 5, 2) == ("1.500,05", "1,500.05")


@pytest.mark.parametrize("seed", range(20))
def test_both_sides_have_the_same_numbers(seed: int) -> None:
    pair = renumber(Pair("Das kostet 1.500 Euro und 2,50 Dollar.", "That costs 1,500 euros and 2.50 dollars."), Random(seed))
    assert pair is not None
    german, english = re.findall(r"[\d.,]*\d", pair.german), re.findall(r"[\d.,]*\d", pair.english)
    assert [number.replace(".", "").replace(",", ".") for number in german] == [
        number.replace(",", "") for number in english
    ]


@pytest.mark.parametrize("seed", range(20))
def test_times_stay_times(seed: int) -> None:
    pair = renumber(Pair("Tom kommt um 2.30 Uhr.", "Tom comes at 2:30."), Random(seed))
    assert pair is not None
    hours, minutes = re.search(r"at (\d+):(\d\d)\.", pair.english).groups()  # type: ignore[union-attr]
    assert re.search(rf"um {hours}[.:]{minutes} Uhr", pair.german)
    assert 1 <= int(hours) <= 12


def test_ordinals_have_their_own_endings() -> None:
    endings = set()
    for seed in range(60):
        pair = renumber(Pair("Heute ist der 3. Mai.", "Today is May 3rd."), Random(seed))
        assert pair is not None
        number, ending = re.search(r"(\d+)(st|nd|rd|th)\.", pair.english).groups()  # type: ignore[union-attr]
        assert f"der {number}. Mai" in pair.german
        assert ending == {"1": "st", "2": "nd", "3": "rd"}.get(number[-1] if not 11 <= int(number) <= 13 else "", "th")
        endings.add(ending)
    assert endings == {"st", "nd", "rd", "th"}


def test_spelled_numbers_become_digits() -> None:
    pair = renumber(Pair("Ich habe drei Brüder.", "I have three brothers."), Random(0))
    assert pair is not None
    assert re.search(r"\d", pair.german)
    assert re.search(r"\d", pair.english)


@pytest.mark.parametrize(
    "pair",
    [
        Pair("Er hat 3 Hunde.", "He has some dogs."),
        Pair("Ich habe 1 Hund.", "I have 1 dog."),
        Pair("Guten Tag.", "Hello."),
        Pair("Um 14.30 Uhr.", "At 14:30."),
    ],
)
def test_left_alone(pair: Pair) -> None:
    assert renumber(pair, Random(0)) is None
