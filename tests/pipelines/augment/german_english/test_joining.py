"""Longer texts of several pairs."""

from __future__ import annotations

from random import Random

import pytest

from pipelines.augment.german_english.joining import Joiner
from pipelines.augment.german_english.pairs import Pair

CORPUS = [
    Pair("Heute sah ich Hunde, und der Mann sah sie auch.", "Today I saw dogs, and the man saw them too."),
    Pair("Dann schlief Anna, denn ich las.", "Then Anna slept because I read."),
]
MAN, DOGS = Pair("Der Mann schläft.", "The man sleeps."), Pair("Hunde bellen.", "Dogs bark.")


@pytest.mark.parametrize("seed", range(10))
def test_a_sentence_of_two(seed: int) -> None:
    joined = Joiner(CORPUS).sentence([DOGS, MAN], Random(seed))
    assert joined is not None
    assert joined.german.startswith("Hunde bellen")
    assert joined.german.endswith("der Mann schläft.")
    assert joined.english.startswith("Dogs bark")
    assert joined.english.endswith("the man sleeps.")


def test_what_is_capitalized_anywhere_stays_so() -> None:
    joined = Joiner(CORPUS).sentence([MAN, DOGS], Random(0))
    assert joined is not None
    assert joined.german.endswith("Hunde bellen.")
    assert joined.english.endswith("dogs bark.")


@pytest.mark.parametrize("pair", [Pair("Wer ist da?", "Who is there?"), Pair("Ja. Er schläft.", "Yes. He sleeps.")])
def test_only_statements_are_joined_to_one_sentence(pair: Pair) -> None:
    joiner = Joiner(CORPUS)
    assert joiner.sentence([MAN, pair], Random(0)) is None
    assert joiner.text([MAN, pair]) == Pair(f"{MAN.german} {pair.german}", f"{MAN.english} {pair.english}")


def test_speech() -> None:
    said = {Joiner(CORPUS).speech(Pair("Wer ist da?", "Who is there?"), Random(seed)) for seed in range(20)}
    assert all("„Wer ist da?“" in pair.german and '"Who is there?"' in pair.english for pair in said)
    statement = {Joiner(CORPUS).speech(MAN, Random(seed)).english for seed in range(20)}
    assert any(text.startswith('"The man sleeps," ') for text in statement)
    assert any(text.endswith(', "The man sleeps."') for text in statement)
