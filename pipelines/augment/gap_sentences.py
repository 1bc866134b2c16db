"""The sentence that sums a text up: the one that says most of the rest, as PEGASUS chooses its gaps (Zhang et al. 2020).

Where a text has a short summary already, as a title, a sentence that says what that says comes first. The sentence stays in
the text: what is to be learnt is which one it is, and to copy it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.augment.words import Words

_SHORT_SUMMARY = 2.0
"""How much an F1 with the short summary counts beside the one with the rest of the text."""


def gap_sentence(sentences: Sequence[str], short_summary: str, words: Words, function_words: int) -> str:
    """The one of the highest F1 over content words with the others and with `short_summary`; the first of equal ones."""
    contents = [words.content(sentence, function_words) for sentence in sentences]
    said = words.content(short_summary, function_words)

    def score(at: int) -> float:
        rest = set().union(*(content for other, content in enumerate(contents) if other != at))
        return _f1(contents[at], rest) + _SHORT_SUMMARY * _f1(contents[at], said)

    return sentences[max(range(len(sentences)), key=score)]


def _f1(some: set[str], others: set[str]) -> float:
    return 2 * len(some & others) / (len(some) + len(others)) if some or others else 0.0
