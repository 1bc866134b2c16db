"""Clauses of a subject and a predicate in both languages: the forms of the verbs, and the order of the words.

German puts the finite verb second, before the subject where something else comes first, and last in a subordinate clause;
the rest of the verb ends the clause. English keeps subject, verb, object, and has adverbs of time at either end.
"""

from __future__ import annotations

import re
from random import Random
from typing import Literal, NamedTuple, cast

from pipelines.augment.german_english.pairs import Pair
from pipelines.augment.german_english.slots import LISTS, PHRASES, filled, pairs, rows
from pipelines.augment.german_english.verbs import English, German, Person, english, german

Tense = Literal["past", "narrative", "anterior", "present", "future", "modal"]
"""Perfect, preterite, pluperfect, present, future, and an infinitive with a modal verb."""

_SUBJECTS = rows(PHRASES["subjects"])
_PREDICATES = pairs(PHRASES["predicates"])
_NOBODYS = [pair for pair in _PREDICATES if not re.search(r"\{(p|r|rd)\}", pair.german)]
_REFLEXIVES = {"ich": ("mich", "mir"), "wir": ("uns", "uns"), "du": ("dich", "dir")}
_HAS_TIME = re.compile(r"\{(time|date|year|weekday|month)\}|jeden|seit|zweimal|bis ")
_ADVERBS = {"past": "past", "narrative": "past", "present": "present", "future": "future", "modal": "future"}
_BEFORE_VERB = frozenset(("often", "sometimes", "usually", "normally", "finally"))
_NO_PERFECT = frozenset(("sein", "haben"))  # whose perfect nobody says
_NO_PROGRESS = frozenset(("sein", "haben", "kennen", "wohnen"))
_LASTING = frozenset(("wohnen", "arbeiten", "studieren", "lernen", "warten", "suchen", "sparen"))
_DENIED_BEFORE = ("in ", "im ", "mit ", "nach ", "zu ", "zum ", "zur ", "am ", "auf ", "an ", "ins ", "bei ", "für ")
_SINCE = (
    Pair("seit {n} Jahren", "for {n} years"),
    Pair("seit {year}", "since {year}"),
    Pair("seit {n} Monaten", "for {n} months"),
)
_MODALS = (  # singular and plural in German and in English
    ("muss", "müssen", "has to", "have to"), ("will", "wollen", "wants to", "want to"), ("kann", "können", "can", "can"),
    ("möchte", "möchten", "would like to", "would like to"), ("sollte", "sollten", "should", "should"),
    ("soll", "sollen", "is supposed to", "are supposed to"), ("musste", "mussten", "had to", "had to"),
    ("wollte", "wollten", "wanted to", "wanted to"), ("konnte", "konnten", "could", "could"),
    ("darf", "dürfen", "is allowed to", "are allowed to"),
)  # fmt: skip


class Subject(NamedTuple):
    """Who does it, and whose is what is his: "sein", "his"."""

    german: str
    english: str
    person: Person
    english_possessive: str
    german_possessive: str

    @property
    def is_family(self) -> bool:
        """Whether it is one in German and many in English, so that no pronoun fits both."""
        return self.german.startswith("die Familie")


class Predicate(NamedTuple):
    """What somebody does: in German a reflexive pronoun, what stands before the verb, the verb; in English verb and rest."""

    reflexive: str
    middle: str
    verb: German
    english_verb: English
    rest: str
    has_time: bool

    def infinitive(self) -> Pair:
        """It with "zu" and "to"."""
        return Pair(line(self.reflexive, self.middle, self.verb.with_zu()), line("to", self.english_verb.base, self.rest))

    def bare_infinitive(self, adverb: Pair) -> Pair:
        """It after a modal verb."""
        return Pair(
            line(self.reflexive, adverb.german, self.middle, self.verb.infinitive),
            line(self.english_verb.base, self.rest, adverb.english),
        )


OWNERS = {
    "": Subject("", "", "3s", "", ""),
    "Sie": Subject("Sie", "you", "pl", "your", "Ihr"),
    "du": Subject("du", "you", "pl", "your", "dein"),
    "ich": Subject("ich", "I", "1s", "my", "mein"),
    "wir": Subject("wir", "we", "pl", "our", "unser"),
}
"""Whose things those of an infinitive may be, by their German pronoun, and nobody's."""


class _Verbs(NamedTuple):
    """Of a clause: what is conjugated and what ends it in German, and all of it in English."""

    finite: str
    end: str
    english: str
    end_is_prefix: bool = False

    def at_end(self) -> str:
        """As in a subordinate clause: "gekauft hat", "einkauft"."""
        return self.end + self.finite if self.end_is_prefix else f"{self.end} {self.finite}"


class Clauses:
    """Makes clauses.

    Args:
        random: Draws them.
    """

    def __init__(self, random: Random) -> None:
        self._random = random

    def subject(self) -> Subject:
        """Any subject."""
        in_german, in_english, person, *possessives = self._random.choice(_SUBJECTS)
        name = filled(Pair(in_german, in_english), self._random)
        return Subject(name.german, name.english, cast(Person, person), *possessives)

    def third_person(self, *, pronoun: bool = True) -> Subject:
        """Somebody else, one person."""
        while True:
            subject = self.subject()
            if subject.person == "3s" and not subject.is_family and (pronoun or subject.german not in ("er", "sie")):
                return subject

    def predicate(self, subject: Subject) -> Predicate:
        """Any predicate, with the pronouns of `subject`; of nobody, one that needs none."""
        pair = self._random.choice(_PREDICATES if subject.german_possessive else _NOBODYS)
        has_time = bool(_HAS_TIME.search(pair.german))
        pair = filled(pair, self._random)
        middle, _, verb = pair.german.replace("{p}", subject.german_possessive).rpartition(" ")
        reflexive = ""
        for slot, pronoun in zip(("{r} ", "{rd} "), _REFLEXIVES.get(subject.german, ("sich", "sich")), strict=True):
            if middle.startswith(slot):
                reflexive, middle = pronoun, middle.removeprefix(slot)
        base, _, rest = pair.english.replace("{p}", subject.english_possessive).partition(" ")
        return Predicate(reflexive, middle, german(verb), english(base), rest, has_time)

    def main(self, tense: Tense, subject: Subject | None = None, *, after: str = "") -> Pair:
        """A main clause. With `after`, which comes first and is not the subject, the German verb is next."""
        subject = subject or self.subject()
        predicate = self.predicate(subject)
        adverb = self._adverb(tense, predicate)
        verbs = self._verbs(subject, predicate, tense)
        denied = ""
        if tense == "present" and not after and adverb == Pair("", ""):
            if predicate.verb.bare in _LASTING and not predicate.has_time and self._random.random() < 0.6:
                return self._lasting(subject, predicate)
            if predicate.verb.bare not in _NO_PROGRESS and self._random.random() < 0.5:
                doing = f"{english('be').finite(subject.person, past=False)} {predicate.english_verb.gerund()}"
                verbs, adverb = verbs._replace(english=doing), Pair("gerade", "")
        elif tense in ("past", "present") and self._may_be_denied(adverb, predicate) and self._random.random() < 0.15:
            do = english("do").finite(subject.person, past=tense == "past")
            verbs = verbs._replace(english=do + self._random.choice((" not ", "n't ")) + predicate.english_verb.base)
            denied = "nicht"
        rest = line(denied, predicate.middle, verbs.end)
        in_english = _english(subject.english, verbs.english, predicate.rest, adverb.english)
        if after:
            return Pair(line(after, verbs.finite, subject.german, predicate.reflexive, adverb.german, rest), in_english)
        if adverb.english and self._random.random() < 0.5:
            if adverb.english not in _BEFORE_VERB and self._random.random() < 0.6:
                in_english = f"{adverb.english.rstrip(',')}, {line(subject.english, verbs.english, predicate.rest)}"
            return Pair(line(adverb.german, verbs.finite, subject.german, predicate.reflexive, rest), in_english)
        return Pair(line(subject.german, verbs.finite, predicate.reflexive, adverb.german, rest), in_english)

    def subordinate(self, words: Pair, tense: Tense, subject: Subject | None = None, *, relative: bool = False) -> Pair:
        """A subordinate clause after a conjunction, or where it is `relative` after a pronoun that is its subject."""
        subject = subject or self.subject()
        predicate = self.predicate(subject)
        adverb = self._adverb(tense, predicate)
        verbs = self._verbs(subject, predicate, "present" if tense == "future" else tense)
        who = Pair("", "") if relative else Pair(subject.german, subject.english)
        return Pair(
            line(words.german, who.german, predicate.reflexive, adverb.german, predicate.middle, verbs.at_end()),
            line(words.english, _english(who.english, verbs.english, predicate.rest, adverb.english)),
        )

    def shared(self, subject: Subject) -> Pair:
        """Two predicates of one subject: "hat Brot gekauft und danach seine Tante besucht"."""
        while True:
            one, other = self.predicate(subject), self.predicate(subject)
            if one.verb.by_sein == other.verb.by_sein and not one.reflexive and not other.reflexive:
                break
        past = self._random.random() < 0.6
        link = self._random.choice((Pair("und danach", "and then"), Pair("und dann", "and then"), Pair("und", "and")))
        said = (each.english_verb.finite(subject.person, past) for each in (one, other))
        in_english = line(subject.english, next(said), one.rest, link.english, next(said), other.rest)
        if past:
            first = (one.verb.auxiliary().finite(subject.person, past=False), one.middle, one.verb.participle)
            return Pair(line(subject.german, *first, link.german, other.middle, other.verb.participle), in_english)
        finite, then = other.verb.finite(subject.person, past=False), link.german.removeprefix("und").strip()
        first = (one.verb.finite(subject.person, past=False), one.middle, one.verb.prefix)
        return Pair(line(subject.german, *first, "und", finite, then, other.middle, other.verb.prefix), in_english)

    def question(self, words: Pair, subject: Subject) -> Pair:
        """A question, after an interrogative or nothing."""
        predicate = self.predicate(subject)
        while predicate.english_verb.base == "be":
            predicate = self.predicate(subject)
        past = self._random.random() < 0.6
        verbs = self._verbs(subject, predicate, "past" if past else "present")
        do = english("do").finite(subject.person, past)
        return Pair(
            line(words.german, verbs.finite, subject.german, predicate.reflexive, predicate.middle, verbs.end) + "?",
            line(words.english, do, subject.english, predicate.english_verb.base, predicate.rest) + "?",
        )

    def _may_be_denied(self, adverb: Pair, predicate: Predicate) -> bool:
        """Whether "nicht" stands before the middle field, and "not" after "do"."""
        timed = bool(adverb.english) and adverb.english not in _BEFORE_VERB
        return timed and predicate.middle.startswith(_DENIED_BEFORE) and predicate.english_verb.base != "be"

    def _lasting(self, subject: Subject, predicate: Predicate) -> Pair:
        """What "seit" makes of a present: "wohnt seit 2010" is "has lived since 2010"."""
        since = filled(self._random.choice(_SINCE), self._random)
        verb = predicate.english_verb
        form = f"been {verb.gerund()}" if self._random.random() < 0.6 else verb.participle
        finite = predicate.verb.finite(subject.person, past=False)
        return Pair(
            line(subject.german, finite, predicate.reflexive, since.german, predicate.middle, predicate.verb.prefix),
            line(subject.english, english("have").finite(subject.person, past=False), form, predicate.rest, since.english),
        )

    def _adverb(self, tense: Tense, predicate: Predicate) -> Pair:
        """When it is, or nothing."""
        if predicate.has_time or tense not in _ADVERBS or self._random.random() < 0.35:
            return Pair("", "")
        return filled(self._random.choice(LISTS[_ADVERBS[tense]]), self._random)

    def _verbs(self, subject: Subject, predicate: Predicate, tense: Tense) -> _Verbs:
        person, verb, foreign = subject.person, predicate.verb, predicate.english_verb
        if tense == "past" and (verb.bare in _NO_PERFECT or self._random.random() < 0.2):
            tense = "narrative"
        match tense:
            case "past":
                return _Verbs(
                    verb.auxiliary().finite(person, past=False), verb.participle, foreign.finite(person, past=True)
                )
            case "anterior":
                return _Verbs(verb.auxiliary().finite(person, past=True), verb.participle, f"had {foreign.participle}")
            case "narrative":
                return _Verbs(
                    verb.finite(person, past=True), verb.prefix, foreign.finite(person, past=True), end_is_prefix=True
                )
            case "present":
                return _Verbs(
                    verb.finite(person, past=False), verb.prefix, foreign.finite(person, past=False), end_is_prefix=True
                )
            case "future":
                if self._random.random() < 0.5:
                    return _Verbs(verb.finite(person, past=False), verb.prefix, f"will {foreign.base}", end_is_prefix=True)
                going = f"{english('be').finite(person, past=False)} going to"
                will = self._random.choice(("will", "will", going))
                return _Verbs(german("werden").finite(person, past=False), verb.infinitive, f"{will} {foreign.base}")
            case "modal":
                one, many, one_does, many_do = self._random.choice(_MODALS)
                does = one_does if person == "3s" else many_do.replace("are ", "am ") if person == "1s" else many_do
                return _Verbs(many if person == "pl" else one, verb.infinitive, f"{does} {foreign.base}")


def line(*parts: str) -> str:
    """The parts that are there, with spaces between them."""
    return " ".join(part for part in parts if part)


def _english(subject: str, verb: str, rest: str, adverb: str) -> str:
    if adverb not in _BEFORE_VERB:
        return line(subject, verb, rest, adverb.rstrip(","))
    head, _, tail = verb.partition(" ")
    if tail or head in ("is", "am", "are", "was", "were"):
        return line(subject, head, adverb, tail, rest)
    return line(subject, adverb, verb, rest)
