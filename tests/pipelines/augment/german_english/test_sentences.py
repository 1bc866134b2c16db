"""Sentences of the grammar: the order of German words, and that nothing is left unfilled."""

from __future__ import annotations

import re
from random import Random

from pipelines.augment.german_english.clauses import Clauses, Predicate, Subject
from pipelines.augment.german_english.pairs import Pair
from pipelines.augment.german_english.sentences import Composer
from pipelines.augment.german_english.slots import LISTS, PHRASES, filled, pairs
from pipelines.augment.german_english.verbs import english, german

SHE = Subject("sie", "she", "3s", "her", "ihr")
SHOPPING = Predicate("", "Brot", german("ein·kaufen"), english("buy"), "bread", has_time=True)
WASHING = Predicate("sich", "mit {person}", german("treffen"), english("meet"), "Tom", has_time=True)


class _Fixed(Clauses):
    """Clauses of one predicate."""

    def __init__(self, predicate: Predicate, seed: int = 0) -> None:
        super().__init__(Random(seed))
        self._predicate = predicate

    def predicate(self, subject: Subject) -> Predicate:
        return self._predicate


def test_word_order() -> None:
    clauses = _Fixed(SHOPPING)
    assert clauses.main("narrative", SHE) == Pair("sie kaufte Brot ein", "she bought bread")
    assert clauses.main("anterior", SHE) == Pair("sie hatte Brot eingekauft", "she had bought bread")
    assert clauses.main("narrative", SHE, after="Als es regnete,").german == "Als es regnete, kaufte sie Brot ein"
    assert clauses.subordinate(Pair("weil", "because"), "narrative", SHE) == Pair(
        "weil sie Brot einkaufte", "because she bought bread"
    )
    assert clauses.subordinate(Pair("nachdem", "after"), "anterior", SHE).german == "nachdem sie Brot eingekauft hatte"
    assert clauses.subordinate(Pair("die", "who"), "present", SHE, relative=True) == Pair(
        "die Brot einkauft", "who buys bread"
    )
    assert SHOPPING.infinitive() == Pair("Brot einzukaufen", "to buy bread")
    assert SHOPPING.bare_infinitive(Pair("morgen", "tomorrow")) == Pair("morgen Brot einkaufen", "buy bread tomorrow")


def test_reflexive_pronouns_come_first() -> None:
    clauses = _Fixed(WASHING._replace(middle="mit Tom"))
    assert clauses.main("narrative", SHE).german == "sie traf sich mit Tom"
    assert clauses.subordinate(Pair("weil", "because"), "narrative", SHE).german == "weil sie sich mit Tom traf"


def test_tenses_in_both_languages() -> None:
    futures = {_Fixed(SHOPPING, seed).main("future", SHE) for seed in range(20)}
    assert futures == {
        Pair("sie kauft Brot ein", "she will buy bread"),
        Pair("sie wird Brot einkaufen", "she will buy bread"),
        Pair("sie wird Brot einkaufen", "she is going to buy bread"),
    }
    pasts = {_Fixed(SHOPPING, seed).main("past", SHE).german for seed in range(30)}
    assert pasts == {"sie hat Brot eingekauft", "sie kaufte Brot ein"}


def test_questions() -> None:
    asked = {_Fixed(SHOPPING, seed).question(Pair("wann", "when"), SHE) for seed in range(30)}
    assert Pair("wann hat sie Brot eingekauft?", "when did she buy bread?") in asked
    assert Pair("wann kauft sie Brot ein?", "when does she buy bread?") in asked


def test_slots_have_one_draw_for_both_sides() -> None:
    for seed in range(50):
        pair = filled(Pair("{n} und {n2} {x:weekdays} {price}", "{n} {n2} {x} {price}"), Random(seed))
        numbers = [re.findall(r"\b\d+\b", side)[:2] for side in pair]
        assert numbers[0] == numbers[1]
        assert any(Pair(*pair).german.split()[3] == day.german and day.english in pair.english for day in LISTS["weekdays"])


def test_every_phrase_fills() -> None:
    for name in ("predicates", "sentences"):
        for phrase in pairs(PHRASES[name]):
            pair = filled(phrase, Random(0))
            assert not re.search(r"\{(?!p\}|r\}|rd\})", " ".join(pair)), phrase


def test_sentences_are_whole_and_repeatable() -> None:
    made = [Composer(Random(1)).sentence() for _ in range(2)]
    assert made[0] == made[1]
    composer = Composer(Random(2))
    for _ in range(3000):
        for text in composer.sentence():
            assert not re.search(r"[{}|\0]|  | [.,?]|^[a-zäöü]", text), text
            assert text[-1] in ".?!" or "Grüße" in text or "Grüßen" in text or "regards" in text or "wishes" in text, text
