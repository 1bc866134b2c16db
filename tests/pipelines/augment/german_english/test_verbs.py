"""Forms of verbs."""

from __future__ import annotations

import pytest

from pipelines.augment.german_english.slots import PHRASES, pairs
from pipelines.augment.german_english.verbs import _IRREGULAR, english, german


@pytest.mark.parametrize(
    ("verb", "third", "preterite", "plural", "participle", "with_zu", "by_sein"),
    [
        ("kaufen", "kauft", "kaufte", "kauften", "gekauft", "zu kaufen", False),
        ("ein·kaufen", "kauft", "kaufte", "kauften", "eingekauft", "einzukaufen", False),
        ("verkaufen", "verkauft", "verkaufte", "verkauften", "verkauft", "zu verkaufen", False),
        ("studieren", "studiert", "studierte", "studierten", "studiert", "zu studieren", False),
        ("warten", "wartet", "wartete", "warteten", "gewartet", "zu warten", False),
        ("öffnen", "öffnet", "öffnete", "öffneten", "geöffnet", "zu öffnen", False),
        ("fahren", "fährt", "fuhr", "fuhren", "gefahren", "zu fahren", True),
        ("um·ziehen+", "zieht", "zog", "zogen", "umgezogen", "umzuziehen", True),
        ("an·ziehen", "zieht", "zog", "zogen", "angezogen", "anzuziehen", False),
    ],
)
def test_german(verb: str, third: str, preterite: str, plural: str, participle: str, with_zu: str, by_sein: bool) -> None:
    forms = german(verb)
    assert forms.finite("3s", past=False) == third
    assert forms.finite("1s", past=True) == forms.finite("3s", past=True) == preterite
    assert forms.finite("pl", past=True) == plural
    assert (forms.participle, forms.with_zu(), forms.by_sein) == (participle, with_zu, by_sein)


def test_first_person_and_to_be() -> None:
    assert german("lesen").finite("1s", past=False) == "lese"
    assert german("erinnern").finite("1s", past=False) == "erinnere"
    assert [german("sein").finite(person, past=False) for person in ("1s", "3s", "pl")] == ["bin", "ist", "sind"]
    assert [english("be").finite(person, past=False) for person in ("1s", "3s", "pl")] == ["am", "is", "are"]
    assert [english("be").finite(person, past=True) for person in ("1s", "3s", "pl")] == ["was", "was", "were"]


@pytest.mark.parametrize(
    ("base", "third", "past", "gerund"),
    [
        ("visit", "visits", "visited", "visiting"),
        ("carry", "carries", "carried", "carrying"),
        ("play", "plays", "played", "playing"),
        ("watch", "watches", "watched", "watching"),
        ("take", "takes", "took", "taking"),
        ("stop", "stops", "stopped", "stopping"),
        ("have", "has", "had", "having"),
        ("lie", "lies", "lay", "lying"),
        ("see", "sees", "saw", "seeing"),
    ],
)
def test_english(base: str, third: str, past: str, gerund: str) -> None:
    forms = english(base)
    assert (forms.third, forms.past, forms.gerund()) == (third, past, gerund)


def test_verbs_of_the_phrases_are_known() -> None:
    predicates = pairs(PHRASES["predicates"])
    stems = {german(pair.german.split()[-1]).bare for pair in predicates}
    assert all(stem.endswith("n") for stem in stems)
    bases = {pair.english.split()[0] for pair in predicates}
    assert bases >= {"go", "buy"}
    assert all(base.isalpha() for base in bases)
    assert not [base for base in bases if base.endswith("eed") and base not in _IRREGULAR]
