"""Other names in a pair, the same on both sides, so that a model learns to copy names, not to write those of its corpus.

Only names of people and places that corpora use again and again are replaced: of these it is known whom they name. A name
that the two sides do not have equally often stays.
"""

from __future__ import annotations

import re
from random import Random

from pipelines.augment.german_english.names import family_name, given_name, place
from pipelines.augment.german_english.pairs import Pair

_MEN = (
    ("Johannes", "John"),
    *((name, name) for name in ("Tom", "John", "Jack", "Bob", "Bill", "Jim", "Mike", "Ken", "Tim")),
)
_WOMEN = (
    ("Maria", "Mary"), ("Anna", "Ann"),
    *((name, name) for name in ("Mary", "Maria", "Alice", "Jane", "Nancy", "Emily", "Linda", "Lucy")),
)  # fmt: skip
_PLACES = (
    ("Tokio", "Tokyo"), ("Rom", "Rome"),
    *((name, name) for name in ("Boston", "London", "Paris", "New York", "Kyoto", "Chicago", "Osaka", "Berlin")),
)  # fmt: skip


def rename(pair: Pair, random: Random) -> Pair | None:
    """The pair with each known name of a person or place replaced throughout; None where it has none."""
    renamed = pair
    for names, kind in ((_MEN, "man"), (_WOMEN, "woman"), (_PLACES, "place")):
        for german, english in names:
            if german in pair.german and english in pair.english:
                first = pair.german.startswith(f"{german} ")
                new = place(random) if kind == "place" else _person(kind == "man", first, random)
                renamed = _replaced(renamed, german, english, new) or renamed
    return renamed if renamed != pair else None


def _replaced(pair: Pair, german: str, english: str, new: Pair) -> Pair | None:
    """The pair with one name replaced, genitives too; None where the two sides do not have it equally often."""
    in_german = re.compile(rf"\b{german}(s|')?(?![\w'])")
    in_english = re.compile(rf"\b{english}('s)?(?![\w'])")
    if len(in_german.findall(pair.german)) != len(in_english.findall(pair.english)):
        return None
    genitive = "'" if new.german[-1] in "sxzß" else "s"
    return Pair(
        in_german.sub(lambda found: new.german + (genitive if found[1] else ""), pair.german),
        in_english.sub(lambda found: new.english + (found[1] or ""), pair.english),
    )


def _person(man: bool, first: bool, random: Random) -> Pair:
    """A given name, a full name, or a title with a family name; `first` is that the name begins the German text."""
    kind = random.random()
    if kind < 0.15 and (first or not man):  # elsewhere it may have to be "Herrn"
        family = family_name(random)
        return (
            Pair(f"Herr {family}", f"Mr. {family}")
            if man
            else Pair(f"Frau {family}", random.choice(("Ms. ", "Mrs. ")) + family)
        )
    name = given_name(man, random)
    if kind < 0.35:
        name += f" {family_name(random)}"
    return Pair(name, name)
