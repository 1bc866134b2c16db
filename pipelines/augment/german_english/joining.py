"""Longer texts made of several pairs: clauses joined to one sentence, quoted speech, and texts of several sentences.

A corpus of sentences of six words has next to nothing at the positions after the twentieth, and a model that is trained on
it loses the thread there. Joined pairs are no good prose, but their words stand in places and among neighbours that the
corpus lacks, and which part of one side belongs to which of the other is known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random

from pipelines.augment.german_english.names import MEN, WOMEN
from pipelines.augment.german_english.pairs import Pair

_LINKS = (  # German, English, weight; word order is that of a main clause after all of them
    (", und ", ", and ", 3), (" und ", " and ", 3), (", aber ", ", but ", 3), (", denn ", ", because ", 3), ("; ", "; ", 1),
    (", doch ", ", but ", 2), (" – ", " – ", 0.5), (": ", ": ", 0.5), (", ", ", ", 0.5), (", oder ", ", or ", 0.5),
)  # fmt: skip
_SAYING = (
    Pair("sagte", "said"), Pair("fragte", "asked"), Pair("antwortete", "answered"), Pair("rief", "called"),
    Pair("schrieb", "wrote"), Pair("meinte", "said"),
)  # fmt: skip


class Joiner:
    """Joins pairs of a corpus, whose own texts say which words are capitalized only at the start of a sentence.

    Args:
        pairs: The corpus.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._german: Counter[str] = Counter()
        self._english: Counter[str] = Counter()
        for pair in pairs:  # without the first word of each, which is capitalized whatever it is
            self._german.update(map(_bare, pair.german.split()[1:]))
            self._english.update(map(_bare, pair.english.split()[1:]))

    def text(self, pairs: Sequence[Pair]) -> Pair:
        """The pairs one after the other, as a text."""
        return Pair(" ".join(pair.german for pair in pairs), " ".join(pair.english for pair in pairs))

    def sentence(self, pairs: Sequence[Pair], random: Random) -> Pair | None:
        """One sentence of all the pairs; None unless all are statements of one sentence."""
        if not all(_is_statement(pair.german) and _is_statement(pair.english) for pair in pairs):
            return None
        german, english = pairs[0].german[:-1], pairs[0].english[:-1]
        links = random.choices(_LINKS, weights=[weight for *_, weight in _LINKS], k=len(pairs) - 1)
        for (in_german, in_english, _), pair in zip(links, pairs[1:], strict=True):
            german += in_german + self._inside(pair.german[:-1], self._german)
            english += in_english + self._inside(pair.english[:-1], self._english)
        return Pair(f"{german}.", f"{english}.")

    def speech(self, pair: Pair, random: Random) -> Pair:
        """The pair as what somebody says."""
        name = random.choice(MEN + WOMEN)
        said, in_english = random.choice(_SAYING)
        if random.random() < 0.5:
            return Pair(f"{name} {said}: „{pair.german}“", f'{name} {in_english}, "{pair.english}"')
        german, english = (re.sub(r"\.$", "", text) for text in pair)
        after = "" if english[-1] in "?!" else ","
        return Pair(f"„{german}“, {said} {name}.", f'"{english}{after}" {in_english} {name}.')

    def _inside(self, sentence: str, counts: Counter[str]) -> str:
        """The sentence as it stands within another: its first word small unless the corpus has it capitalized elsewhere."""
        first, *others = sentence.split(" ")
        small = first[:1].lower() + first[1:]
        return " ".join([small if counts[_bare(small)] > counts[_bare(first)] else first, *others])


def _bare(word: str) -> str:
    return word.strip('.,;:!?„“"')


def _is_statement(text: str) -> bool:
    return text.endswith(".") and not re.search(r"[.!?:„“\"][ \"“]", text) and not text.endswith("..")
