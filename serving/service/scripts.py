"""Which letters a language is written with, as far as it shows that a text is of another one, or of none."""

from __future__ import annotations

import unicodedata

LETTERS: dict[str, tuple[str, ...]] = {
    "Arab": ("ARABIC",),
    "Armn": ("ARMENIAN",),
    "Beng": ("BENGALI",),
    "Cyrl": ("CYRILLIC",),
    "Deva": ("DEVANAGARI",),
    "Ethi": ("ETHIOPIC",),
    "Geor": ("GEORGIAN",),
    "Grek": ("GREEK",),
    "Gujr": ("GUJARATI",),
    "Guru": ("GURMUKHI",),
    "Hans": ("CJK", "BOPOMOFO"),
    "Hant": ("CJK", "BOPOMOFO"),
    "Hebr": ("HEBREW",),
    "Jpan": ("CJK", "HIRAGANA", "KATAKANA"),
    "Khmr": ("KHMER",),
    "Knda": ("KANNADA",),
    "Kore": ("HANGUL", "CJK"),
    "Laoo": ("LAO",),
    "Latn": ("LATIN",),
    "Mlym": ("MALAYALAM",),
    "Mymr": ("MYANMAR",),
    "Orya": ("ORIYA",),
    "Sinh": ("SINHALA",),
    "Taml": ("TAMIL",),
    "Telu": ("TELUGU",),
    "Thai": ("THAI",),
    "Tibt": ("TIBETAN",),
}
"""ISO 15924 code of a script → the first words of its letters' names in Unicode."""

SPACELESS = frozenset({"Hans", "Hant", "Jpan", "Khmr", "Laoo", "Mymr", "Thai", "Tibt"})
"""Scripts in which no space stands between sentences."""

_KNOWN = frozenset(name for names in LETTERS.values() for name in names)


def has_letters(text: str, script: str | None) -> bool:
    """Whether a text has a letter that may be of this script; of none and of unknown ones any letter may be."""
    own = LETTERS.get(script or "")
    return any(
        each.isalpha() and (own is None or (name := _script_name(each)) in own or name not in _KNOWN) for each in text
    )


def _script_name(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
