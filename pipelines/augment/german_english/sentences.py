"""Everyday sentences in German and English, put together by a small grammar of the two.

What a corpus of short sentences cannot teach is how a long one is turned: verbs at the end of a German clause, the verb
before the subject after "Am Montag", participles and separable prefixes far from their verbs. Some hundred predicates
(`phrases.yaml`) make any number of sentences in which just this varies, with names, numbers, prices, dates and times in
them. They are stiff, and not always sensible; they are grammatical on both sides, and say the same.
"""

from __future__ import annotations

from random import Random
from typing import cast

from pipelines.augment.german_english.clauses import OWNERS, Clauses, Subject, Tense
from pipelines.augment.german_english.pairs import Pair
from pipelines.augment.german_english.slots import PHRASES, filled, pairs, rows

_SENTENCES, _TELLING, _WANTING = (pairs(PHRASES[name]) for name in ("sentences", "telling", "wanting"))
_JOINTS, _ASKING, _TO_DO = (rows(PHRASES[name]) for name in ("joints", "asking", "to_do"))
_LINKS = (Pair("und", "and"), Pair("aber", "but"), Pair("denn", "because"), Pair("doch", "but"))
_QUESTIONS = (Pair("", ""), Pair("", ""), Pair("warum", "why"), Pair("wann", "when"), Pair("wie oft", "how often"))
_PRONOUNS = {"his": Pair("er", "he"), "her": Pair("sie", "she"), "their": Pair("sie", "they")}
_TOMORROW = (Pair("morgen", "tomorrow"), Pair("", ""))


class Composer:
    """Makes sentences.

    Args:
        random: Draws them.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._clauses = Clauses(random)
        self._kinds = {
            self._fixed: 4.0, self._main: 5.0, self._two_mains: 2.0, self._joined: 8.0, self._telling: 2.0,
            self._purpose: 2.0,
            self._relative: 2.0, self._shared: 2.0, self._request: 3.0, self._to_do: 1.5, self._wanting: 1.5,
            self._question: 2.0,
        }  # fmt: skip

    def sentence(self) -> Pair:
        """A sentence of one to three clauses, or one of the whole ones with other names and numbers."""
        [kind] = self._random.choices(list(self._kinds), weights=list(self._kinds.values()))
        german, english = kind()
        return Pair(german[0].upper() + german[1:], english[0].upper() + english[1:])

    def _fixed(self) -> Pair:
        return filled(self._random.choice(_SENTENCES), self._random)

    def _tense(self) -> Tense:
        tenses: tuple[Tense, ...] = ("past", "narrative", "present", "future", "modal")
        return self._random.choices(tenses, weights=(4, 1.5, 2, 2, 2))[0]

    def _main(self) -> Pair:
        return _ended(self._clauses.main(self._tense()))

    def _two_mains(self) -> Pair:
        one, other, link = self._clauses.main(self._tense()), self._clauses.main(self._tense()), self._random.choice(_LINKS)
        return _ended(Pair(f"{one.german}, {link.german} {other.german}", f"{one.english}, {link.english} {other.english}"))

    def _joined(self) -> Pair:
        """A subordinate clause after its main clause, or before it."""
        *words, of_sub = self._random.choice(_JOINTS)
        tense = cast(Tense, of_sub)
        future: tuple[Tense, ...] = ("future", "modal")
        of_main = self._random.choice(future) if tense == "future" else "narrative" if tense == "anterior" else tense
        subject = self._clauses.subject()
        if self._random.random() < 0.5:
            main = self._clauses.main(of_main, subject)
            sub = self._clauses.subordinate(Pair(*words), tense, self._again(subject))
            return _ended(Pair(f"{main.german}, {sub.german}", f"{main.english} {sub.english}"))
        sub = self._clauses.subordinate(Pair(*words), tense, subject)
        main = self._clauses.main(of_main, self._again(subject), after=f"{sub.german},")
        return _ended(Pair(main.german, f"{sub.english}, {main.english}"))

    def _again(self, subject: Subject) -> Subject:
        """The subject of a second clause: a pronoun for the first one's, or another."""
        if self._random.random() < 0.4 or subject.is_family:
            return self._clauses.subject()
        pronoun = _PRONOUNS.get(subject.english_possessive)
        return subject._replace(german=pronoun.german, english=pronoun.english) if pronoun else subject

    def _telling(self) -> Pair:
        subject, said = self._clauses.third_person(), self._random.choice(_TELLING)
        tenses: tuple[Tense, ...] = ("past", "present", "future", "modal")
        sub = self._clauses.subordinate(Pair("dass", "that"), self._random.choice(tenses))
        return _ended(
            Pair(f"{subject.german} {said.german}, {sub.german}", f"{subject.english} {said.english} {sub.english}")
        )

    def _purpose(self) -> Pair:
        subject = self._clauses.subject()
        tenses: tuple[Tense, ...] = ("past", "present", "future", "modal")
        main = self._clauses.main(self._random.choice(tenses), subject)
        aim = self._clauses.predicate(subject).infinitive()
        return _ended(Pair(f"{main.german}, um {aim.german}", f"{main.english} {aim.english}"))

    def _relative(self) -> Pair:
        subject = self._clauses.third_person(pronoun=False)
        pronoun = Pair("der" if subject.english_possessive == "his" else "die", "who")
        tenses: tuple[Tense, ...] = ("past", "present")
        part = self._clauses.subordinate(pronoun, self._random.choice(tenses), subject, relative=True)
        whole = subject._replace(german=f"{subject.german}, {part.german},", english=f"{subject.english}, {part.english},")
        return _ended(self._clauses.main(self._tense(), whole))

    def _shared(self) -> Pair:
        return _ended(self._clauses.shared(self._clauses.subject()))

    def _request(self) -> Pair:
        asked, in_english, mark = self._random.choice(_ASKING)
        words = [word if word == "Sie" else word.lower() for word in asked.split()]
        owner = OWNERS[next((word for word in words if word in OWNERS), "")]
        adverb = Pair("", "") if "hier" in words else self._random.choice(_TOMORROW)
        predicate = self._clauses.predicate(owner)
        what = predicate.bare_infinitive(Pair("", "") if predicate.has_time else adverb)
        return Pair(f"{asked} {what.german}{mark}", f"{in_english} {what.english}{mark}")

    def _to_do(self) -> Pair:
        *words, whose = self._random.choice(_TO_DO)
        told, predicate = filled(Pair(*words), self._random), self._clauses.predicate(OWNERS[whose])
        aim = predicate.infinitive()
        english = aim.english
        if told.english.endswith("forward"):
            english = f"to {predicate.english_verb.gerund()} {predicate.rest}".rstrip()
        mark = "?" if told.german.startswith("Haben") else "."
        return Pair(f"{told.german} {aim.german}{mark}", f"{told.english} {english}{mark}")

    def _wanting(self) -> Pair:
        subject, said = self._clauses.third_person(), self._random.choice(_WANTING)
        aim = self._clauses.predicate(subject).infinitive()
        return _ended(
            Pair(f"{subject.german} {said.german}, {aim.german}", f"{subject.english} {said.english} {aim.english}")
        )

    def _question(self) -> Pair:
        return self._clauses.question(self._random.choice(_QUESTIONS), self._clauses.subject())


def _ended(pair: Pair) -> Pair:
    return Pair(f"{pair.german}.", f"{pair.english}.")
