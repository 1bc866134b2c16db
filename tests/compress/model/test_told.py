"""What is said of a packed model: what its card takes over, and what contradicts it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compress.model.teacher import load_teacher
from compress.model.token_format import LanguagePair
from compress.model.told import Told, ToldError, spoken_languages, taken_over
from quant.card import Card

PAIR = ("de_DE", "en_XX")


@pytest.fixture(scope="module")
def card(teachers: dict[str, str]) -> Card:
    """Of a translator both ways."""
    return load_teacher(teachers["mbart50"], Told("translation", PAIR, both_directions=True)).text_format.card


@pytest.fixture(scope="module")
def english(teachers: dict[str, str]) -> Card:
    """Of summaries in English."""
    return load_teacher(teachers["mbart50"], Told("summarization", ("en_XX", None))).text_format.card


def test_the_direction_that_is_named(card: Card) -> None:
    assert spoken_languages("model", card, PAIR) == PAIR
    assert spoken_languages("model", card, PAIR[::-1]) == PAIR[::-1]


def test_the_only_direction_need_not_be_named(card: Card) -> None:
    assert spoken_languages("model", replace(card, directions=("de_DE>en_XX",)), ()) == PAIR


def test_one_of_several_must_be_named(card: Card) -> None:
    accepted = "--source-language de_DE --target-language en_XX or --source-language en_XX --target-language de_DE"
    with pytest.raises(ToldError, match=f"model takes {accepted}; none of them is given"):
        spoken_languages("model", card, ())


@pytest.mark.parametrize("asked", [("fr_XX", "en_XX"), ("de_DE", None)])
def test_a_direction_that_there_is_not(card: Card, asked: LanguagePair) -> None:
    with pytest.raises(ToldError, match=r"model takes --source-language de_DE .* is given"):
        spoken_languages("model", card, asked)


@pytest.mark.parametrize("asked", [(), ("en_XX", None), ("en_XX", "en_XX"), (None, "en_XX")])
def test_a_fixed_language_may_be_named(english: Card, asked: LanguagePair) -> None:
    assert spoken_languages("model", english, asked) == asked


def test_another_language_than_the_fixed_one(english: Card) -> None:
    with pytest.raises(ToldError, match="model has no languages to choose from, and de_DE to none is given"):
        spoken_languages("model", english, ("de_DE", None))


def test_what_an_artifact_is_not_told_its_card_says(card: Card) -> None:
    assert taken_over("model", card, Told(languages=PAIR, both_directions=True)) == card
    assert taken_over("model", card, Told(languages=PAIR)).directions == ("de_DE>en_XX",)
    one = replace(card, directions=("de_DE>en_XX",))
    assert taken_over("model", one, Told()) == one
    repeated = Told("translation", PAIR, source_template="{source}", max_source_tokens=card.max_source_tokens)
    assert taken_over("model", one, repeated) == one


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        (Told("summarization"), "--task is summarization, but model was made for translation"),
        (Told(source_template="x {source}"), "--source-template is 'x {source}', but model was made with '{source}'"),
        (Told(passage_separator=" "), "--passage-separator is ' ', but model was made with None"),
        (Told(max_source_tokens=8), "--max-source-tokens is 8, but model was made with 64"),
        (
            Told(languages=PAIR, both_directions=True),
            "model takes --source-language de_DE --target-language en_XX; en_XX to de_DE is given",
        ),
    ],
)
def test_what_contradicts_a_card_is_named_with_it(card: Card, told: Told, fault: str) -> None:
    with pytest.raises(ToldError) as refused:
        taken_over("model", replace(card, directions=("de_DE>en_XX",)), told)
    assert str(refused.value) == fault


def test_all_contradictions_are_told_at_once(card: Card) -> None:
    with pytest.raises(ToldError, match=r"--task is summarization.*; --max-source-tokens is 8"):
        taken_over("model", card, Told("summarization", max_source_tokens=8))


def test_one_language_has_no_other_direction(english: Card) -> None:
    with pytest.raises(ToldError, match="--both-directions is for translations, but model was made for summarization"):
        taken_over("model", english, Told(languages=("en_XX", "en_XX"), both_directions=True))


def test_what_is_not_said_is_completed_by_a_card(card: Card) -> None:
    completed = Told(max_source_tokens=9).completed(replace(card, directions=("de_DE>en_XX",)))
    assert completed == Told("translation", PAIR, False, "{source}", None, 9)
    assert Told().completed(card).languages == ()
