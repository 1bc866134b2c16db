"""Words of texts: which of them are common in a corpus, and which can be made up.

A model that is trained on few texts learns their names by heart in place of how to copy. Where a name is another one in each
copy of an example, the same in the question, the passage and the answer, nothing can be learnt of it but to copy it.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence

WORD = re.compile(r"[^\W\d_]+")
_REPLACED = re.compile(r"[^\W\d_]{3,}|\d+")


class Words:
    """Of a corpus: its words by how often they occur."""

    def __init__(self, texts: Iterable[str]) -> None:
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(word.lower() for word in WORD.findall(text))
        # Ties by the alphabet: the order must not depend on which text came first.
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        self._rank = {word: rank for rank, word in enumerate(ranked)}
        self._parts = [word for word in ranked if len(word) >= 5] or ["lorem"]

    def common(self, word: str, most: int) -> bool:
        """Whether it is among the `most` frequent ones."""
        return self._rank.get(word.lower(), most) < most

    def content(self, text: str, function_words: int) -> set[str]:
        """Its words in lower case, without the most frequent ones of the corpus, which are function words.

        Of a corpus of few words no more than a tenth are.
        """
        most = min(function_words, len(self._rank) // 10)
        return {word for word in map(str.lower, WORD.findall(text)) if not self.common(word, most)}

    def made_up(self, generator: random.Random) -> str:
        """A word that looks like those of the corpus: the start of one and the end of another."""
        start, end = generator.choice(self._parts), generator.choice(self._parts)
        return start[: generator.randint(2, len(start) - 2)] + end[generator.randint(2, len(end) - 2) :]


def with_made_up_words(
    texts: Sequence[str], source: str, words: Words, kept: int, share: float, generator: random.Random
) -> list[str]:
    """The texts with a share of the words of `source` made up, each by the same one in all of them and in its case.

    What a target says and its source does not stays as it is: it could not be copied. The `kept` most frequent words of the
    corpus stay, too; numbers are replaced by numbers of as many digits.
    """
    found = sorted({word.lower() for word in _REPLACED.findall(source)})
    others: dict[str, str] = {}
    for word in found:
        if generator.random() >= share:
            continue
        if word.isdigit():
            others[word] = word[0] + "".join(generator.choice("0123456789") for _ in word[1:])
        elif not words.common(word, kept):
            others[word] = words.made_up(generator)
    return [_REPLACED.sub(lambda match: _in_case(others.get(match[0].lower()), match[0]), text) for text in texts]


def _in_case(other: str | None, word: str) -> str:
    if other is None:
        return word
    if word.isupper() and len(word) > 1:
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other
