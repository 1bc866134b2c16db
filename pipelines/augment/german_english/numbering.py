"""Other numbers in a pair, the same on both sides, each written as its language writes it: 1.500,50 and 1,500.50.

Digits are what a small model copies worst: a corpus has few, and always the same ones. Spelled numbers become digits too,
as they stand before things that are counted, where a corpus of short sentences has no digits.
"""

from __future__ import annotations

import re
from random import Random

from pipelines.augment.german_english.pairs import Pair

_NUMBER = re.compile(r"(?<![\w.,:])\d+(?:[.,:]\d+)*(?=$|[^\d\w]|st\b|nd\b|rd\b|th\b)")
_ORDINAL = re.compile(r"(?<![\w.,:])(\d+)(st|nd|rd|th)\b")
_WORDS = {
    "zwei": "two", "drei": "three", "vier": "four", "fünf": "five", "sechs": "six", "sieben": "seven", "acht": "eight",
    "neun": "nine", "zehn": "ten", "elf": "eleven", "zwölf": "twelve", "dreizehn": "thirteen", "vierzehn": "fourteen",
    "fünfzehn": "fifteen", "zwanzig": "twenty", "dreißig": "thirty", "vierzig": "forty", "fünfzig": "fifty",
}  # fmt: skip
_GERMAN_WORD = re.compile(rf"\b({'|'.join(_WORDS)})\b", re.IGNORECASE)
_ENGLISH_WORD = re.compile(rf"\b({'|'.join(_WORDS.values())})\b", re.IGNORECASE)


def renumber(pair: Pair, random: Random) -> Pair | None:
    """The pair with its numbers replaced; None where it has none, or where the two sides do not have the same."""
    numbers = _NUMBER.findall(pair.german)
    if not numbers:
        return _digits_for_words(pair, random)
    others = _NUMBER.findall(pair.english)
    if sorted(map(_german_value, numbers)) != sorted(map(_english_value, others)):
        return None
    new = {}
    for written in numbers:
        value = _german_value(written)
        if value not in new:
            replaced = _another(value, ordinal=_is_ordinal(value, pair.english), random=random)
            if replaced is None:
                return None
            new[value] = replaced
    german = _NUMBER.sub(lambda found: new[_german_value(found[0])][0], pair.german)
    english = _NUMBER.sub(lambda found: new[_english_value(found[0])][1], pair.english)
    return Pair(german, _ORDINAL.sub(lambda found: found[1] + _suffix(int(found[1])), english))


def _german_value(written: str) -> tuple[str, ...]:
    """What is written, whatever the separators: parts of digits, with a mark of what lies between them."""
    if re.fullmatch(r"\d{1,3}(\.\d{3})+", written):
        return (written.replace(".", ""),)
    if re.fullmatch(r"\d{1,2}[.:]\d\d", written):
        return ("time", *re.split(r"[.:]", written))
    if re.fullmatch(r"\d+,\d+", written):
        return ("decimal", *written.split(","))
    return (written,)


def _english_value(written: str) -> tuple[str, ...]:
    if re.fullmatch(r"\d{1,3}(,\d{3})+", written):
        return (written.replace(",", ""),)
    if re.fullmatch(r"\d{1,2}:\d\d", written):
        return ("time", *written.split(":"))
    if re.fullmatch(r"\d+\.\d+", written):
        return ("decimal", *written.split("."))
    return (written,)


def _is_ordinal(value: tuple[str, ...], english: str) -> bool:
    return any((number,) == value for number, _ in _ORDINAL.findall(english))


def _another(value: tuple[str, ...], ordinal: bool, random: Random) -> tuple[str, str] | None:
    """A number of the same kind as it is written in German and in English; None for one that cannot be replaced."""
    match value:
        case ("time", hours, _):
            time = f"{random.randint(1, 12)}:{random.choice((random.randrange(60), random.randrange(0, 60, 5))):02d}"
            return (time.replace(":", random.choice(".:")), time) if int(hours) <= 12 else None
        case ("decimal", whole, fraction):
            return decimals(random.randrange(10 ** len(whole)) + 1, random.randrange(10 ** len(fraction)), len(fraction))
        case (digits,) if digits.isdigit():
            number = int(digits)
            if number <= 1:  # one thing is no two things
                return None
            if ordinal or (number <= 31 and random.random() < 0.5):
                new = random.randint(2, 31)
            elif 1500 < number < 2100:
                new = random.randint(1800, 2030)
                return str(new), str(new)
            else:
                new = random.randint(2, 10 ** min(max(len(digits), 2), 6) - 1)
            return whole_numbers(new)
    return None


def whole_numbers(number: int) -> tuple[str, str]:
    """`number` in German and in English: 1.500 and 1,500."""
    english = f"{number:,}"
    return english.replace(",", "."), english


def decimals(whole: int, fraction: int, places: int) -> tuple[str, str]:
    """A number with `places` digits after the sign, in German and in English: 1.500,50 and 1,500.50."""
    german, english = whole_numbers(whole)
    return f"{german},{fraction:0{places}d}", f"{english}.{fraction:0{places}d}"


def _suffix(number: int) -> str:
    return "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _digits_for_words(pair: Pair, random: Random) -> Pair | None:
    german, english = _GERMAN_WORD.findall(pair.german), _ENGLISH_WORD.findall(pair.english)
    if len(german) != 1 or len(english) != 1 or _WORDS[german[0].lower()] != english[0].lower():
        return None
    one, other = whole_numbers(random.choice((random.randint(2, 31), random.randint(2, 999), random.randint(2, 9999))))
    return Pair(_GERMAN_WORD.sub(one, pair.german), _ENGLISH_WORD.sub(other, pair.english))
