"""The phrases of `phrases.yaml`, and what fills their slots: names, numbers, dates and times, the same on both sides."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import yaml

from pipelines.augment.german_english.names import family_name, given_name, place
from pipelines.augment.german_english.numbering import decimals, whole_numbers
from pipelines.augment.german_english.pairs import Pair

_SLOT = re.compile(r"\{([a-z]+)(\d?)(?::(\w+))?\}")
_OF_SUBJECT = ("p", "r", "rd")  # filled once the subject is known
_UNITS = (
    Pair("Euro", "euros"),
    Pair("Euro", "euros"),
    Pair("Euro", "euros"),
    Pair("Dollar", "dollars"),
    Pair("Franken", "francs"),
)
_ORDINALS = tuple(
    Pair(*each)
    for each in (
        ("ersten", "first"),
        ("zweiten", "second"),
        ("dritten", "third"),
        ("vierten", "fourth"),
        ("fünften", "fifth"),
    )
)


def rows(text: str) -> list[list[str]]:
    """The lines of a table of phrases, in columns."""
    return [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]


def pairs(text: str) -> list[Pair]:
    """The lines of a table of two columns."""
    return [Pair(*row) for row in rows(text)]


PHRASES = yaml.safe_load(Path(__file__).with_name("phrases.yaml").read_text(encoding="utf-8"))
LISTS = {name: pairs(text) for name, text in PHRASES["lists"].items()}


def filled(pair: Pair, random: Random) -> Pair:
    """The pair with its slots filled, each by one draw for both sides; those that depend on the subject stay."""
    drawn: dict[str, Pair] = {}
    whose = ""
    for kind, number, of_list in _SLOT.findall(pair.german):
        name = kind + number
        if kind in _OF_SUBJECT or name in drawn:
            continue
        if of_list:
            drawn[name] = filled(random.choice(LISTS[of_list]), random)
        elif kind in ("person", "man", "woman"):
            man = kind == "man" or (kind == "person" and random.random() < 0.5)
            whose = "his" if man else "her"
            drawn[name] = _person(man, kind == "person", random)
        else:
            drawn[name] = _drawn(kind, random)
    drawn["pof"] = Pair(whose, whose)

    def fill(side: int) -> str:
        return _SLOT.sub(
            lambda found: drawn[found[1] + found[2]][side] if found[1] not in _OF_SUBJECT else found[0], pair[side]
        )

    return Pair(fill(0), fill(1))


def _person(man: bool, of_any_kind: bool, random: Random) -> Pair:
    kind = random.random() if of_any_kind else 1
    if kind < 0.1 and not man:
        family = family_name(random)
        return Pair(f"Frau {family}", f"Ms. {family}")
    name = given_name(man, random) + (f" {family_name(random)}" if kind < 0.35 else "")
    return Pair(name, name)


def _drawn(kind: str, random: Random) -> Pair:
    match kind:
        case "family":
            return _same(family_name(random))
        case "city":
            return place(random)
        case "weekday" | "month":
            return random.choice(LISTS[f"{kind}s"])
        case "date":
            day, month = random.randint(1, 31), random.choice(LISTS["months"])
            return Pair(f"{day}. {month.german}", f"{month.english} {day}")
        case "year":
            return _same(str(random.randint(1900, 2035)))
        case "time":
            return _time(random)
        case "price":
            return _price(random)
        case "phone":
            digits = "0" + "".join(random.choices("0123456789", k=random.randint(4, 8)))
            return _same(digits if random.random() < 0.5 else " ".join(re.findall("..?", digits)))
        case "number":
            return _same(str(random.randint(100, 99_999)))
        case "big":
            return Pair(*whole_numbers(random.choice((10, 100, 1000, 10_000)) * random.randint(11, 999)))
        case "nth":
            return random.choice(_ORDINALS)
        case "n":
            return _same(str(random.randint(2, random.choice((12, 12, 60, 400)))))
    raise KeyError(f"{{{kind}}} is no slot")


def _same(text: str) -> Pair:
    return Pair(text, text)


def _time(random: Random) -> Pair:
    hours, minutes = random.randint(0, 23), random.choice((0, 15, 30, 45, random.randrange(60)))
    if minutes == 0 and 2 <= hours <= 12 and random.random() < 0.7:
        return Pair(str(hours), f"{hours} o'clock")
    return Pair(f"{hours}{random.choice('::.')}{minutes:02d}", f"{hours}:{minutes:02d}")


def _price(random: Random) -> Pair:
    unit = random.choice(_UNITS)
    if random.random() < 0.4:
        whole = random.randint(1, random.choice((30, 1500)))
        number = decimals(whole, random.choice((50, 90, 99, 20, 5, random.randrange(100))), 2)
    else:
        number = whole_numbers(
            random.choice((random.randint(2, 99), random.randint(2, 40) * 50, random.randint(100, 20_000)))
        )
    return Pair(f"{number[0]} {unit.german}", f"{number[1]} {unit.english}")
