"""What is made of a corpus of pairs: altered copies, longer texts joined from them; and sentences of a grammar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from pipelines.augment.german_english.joining import Joiner
from pipelines.augment.german_english.naming import rename
from pipelines.augment.german_english.numbering import renumber
from pipelines.augment.german_english.pairs import Pair
from pipelines.augment.german_english.sentences import Composer

_COMPOSED_PARTS = 0.25
"""Share of the parts of joined texts that are sentences of the grammar."""
_ONE_SENTENCE = 0.75
"""Share of joined texts that are one sentence; the others are several."""
_DRAWS = 100
"""Pairs tried for each joined text before the corpus is given up."""


class Shares(NamedTuple):
    """What part of the pairs gets other names and numbers, where they have any, and loses the full stop at their end."""

    rename: float
    renumber: float
    unended: float


def altered(pair: Pair, shares: Shares, random: Random) -> Pair:
    """The pair with other names and numbers, or as it is."""
    if random.random() < shares.rename:
        pair = rename(pair, random) or pair
    if random.random() < shares.renumber:
        pair = renumber(pair, random) or pair
    return pair


def copies(corpus: Sequence[Pair], count: int, shares: Shares, seed: int) -> Iterator[Pair]:
    """`count` copies of each pair, each altered by draws of its own."""
    for copy in range(count):
        for place, pair in enumerate(corpus):
            random = Random(f"{seed}/copy/{copy}/{place}")
            yield _unended(altered(pair, shares, random), shares, random)


def joined(corpus: Sequence[Pair], count: int, most_words: int, shares: Shares, seed: int) -> Iterator[Pair]:
    """`count` texts of one to four pairs each: one as speech, several as a sentence or a text of at most `most_words` words.

    Raises ValueError where the corpus gives none so short.
    """
    joiner = Joiner(corpus)
    for place in range(count):
        random = Random(f"{seed}/joined/{place}")
        composer = Composer(random)
        for _ in range(_DRAWS):
            [parts] = random.choices((1, 2, 3, 4), weights=(1.5, 6, 2.5, 1))
            pairs = [
                composer.sentence() if random.random() < _COMPOSED_PARTS else altered(random.choice(corpus), shares, random)
                for _ in range(parts)
            ]
            text = (
                joiner.speech(pairs[0], random)
                if parts == 1
                else joiner.sentence(pairs, random)
                if random.random() < _ONE_SENTENCE
                else joiner.text(pairs)
            )
            if text and max(len(side.split()) for side in text) <= most_words:
                yield _unended(text, shares, random)
                break
        else:
            raise ValueError(f"no texts of at most {most_words} words can be joined from these pairs")


def composed(count: int, shares: Shares, seed: int) -> Iterator[Pair]:
    """`count` sentences of the grammar."""
    for place in range(count):
        random = Random(f"{seed}/composed/{place}")
        yield _unended(Composer(random).sentence(), shares, random)


def _unended(pair: Pair, shares: Shares, random: Random) -> Pair:
    if random.random() < shares.unended and all(side.endswith(".") and not side.endswith("..") for side in pair):
        return Pair(*(side[:-1] for side in pair))
    return pair
