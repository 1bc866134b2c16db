"""Names that stand in for those of a corpus: given and family names of many countries, made-up ones, and places.

A corpus of a few names ("Tom" is in every fourth pair of Tatoeba) teaches a model to write these, not to copy what it
reads.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import yaml

from pipelines.augment.german_english.pairs import Pair

_NAMES = yaml.safe_load(Path(__file__).with_name("names.yaml").read_text(encoding="utf-8"))
MEN: tuple[str, ...] = tuple(_NAMES["men"].split())
WOMEN: tuple[str, ...] = tuple(_NAMES["women"].split())
FAMILIES: tuple[str, ...] = tuple(_NAMES["families"].split())
PLACES: tuple[Pair, ...] = tuple(Pair(*place.replace("_", " ").split("|")) for place in _NAMES["places"].split())
_SYLLABLES: tuple[str, ...] = tuple(_NAMES["syllables"].split())
_ENDS: tuple[str, ...] = ("", *_NAMES["ends"].split())


def given_name(man: bool, random: Random) -> str:
    """A given name of a man or a woman, now and then a made-up one."""
    return made_up_name(random) if random.random() < 0.08 else random.choice(MEN if man else WOMEN)


def family_name(random: Random) -> str:
    """A family name, now and then a made-up one."""
    return made_up_name(random) if random.random() < 0.08 else random.choice(FAMILIES)


def place(random: Random) -> Pair:
    """A city in German and in English, now and then a made-up one."""
    if random.random() < 0.08:
        return Pair(*[made_up_name(random)] * 2)
    return random.choice(PLACES)


def made_up_name(random: Random) -> str:
    """A name that is in no list: one to three syllables and an ending, capitalized."""
    syllables = "".join(random.choices(_SYLLABLES, k=random.choice((1, 2, 2, 3))))
    return (syllables + random.choice(_ENDS)).capitalize()
