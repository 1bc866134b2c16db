"""Which languages a model is scored in: those that are named, those that it has only, or none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compress.model.teacher import load_teacher
from compress.model.token_format import LanguagePair
from compress.scoring.asked import ScoredModelError, spoken_languages
from quant.card import Card

PAIR = ("de_DE", "en_XX")


@pytest.fixture(scope="module")
def card(teachers: dict[str, str]) -> Card:
    """Of a translator both ways."""
    return load_teacher(teachers["mbart50"], "translation", PAIR, both_directions=True).text_format.card


@pytest.fixture(scope="module")
def english(teachers: dict[str, str]) -> Card:
    """Of summaries in English."""
    return load_teacher(teachers["mbart50"], "summarization", ("en_XX", None)).text_format.card


def test_the_direction_that_is_named(card: Card) -> None:
    assert spoken_languages("model", card, PAIR) == PAIR
    assert spoken_languages("model", card, PAIR[::-1]) == PAIR[::-1]


def test_the_only_direction_need_not_be_named(card: Card) -> None:
    assert spoken_languages("model", replace(card, directions=("de_DE>en_XX",)), ()) == PAIR


def test_one_of_several_must_be_named(card: Card) -> None:
    accepted = "--source-language de_DE --target-language en_XX or --source-language en_XX --target-language de_DE"
    with pytest.raises(ScoredModelError, match=f"model takes {accepted}; none of them is given"):
        spoken_languages("model", card, ())


@pytest.mark.parametrize("asked", [("fr_XX", "en_XX"), ("de_DE", None)])
def test_a_direction_that_there_is_not(card: Card, asked: LanguagePair) -> None:
    with pytest.raises(ScoredModelError, match=r"model takes --source-language de_DE .* is given"):
        spoken_languages("model", card, asked)


@pytest.mark.parametrize("asked", [(), ("en_XX", None), ("en_XX", "en_XX"), (None, "en_XX")])
def test_a_fixed_language_may_be_named(english: Card, asked: LanguagePair) -> None:
    assert spoken_languages("model", english, asked) == asked


def test_another_language_than_the_fixed_one(english: Card) -> None:
    with pytest.raises(ScoredModelError, match="model has no languages to choose from, and de_DE to none is given"):
        spoken_languages("model", english, ("de_DE", None))
