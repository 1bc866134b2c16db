"""Texts as people write and paste them to the characters that a model was trained on.

A tokenizer does some of this itself, or none of it: a model that has only seen plain spaces meets U+00A0 as an unknown
token. What its own normalizer leaves is done here, before it, in training as in the service; a card names the steps. They
are done in this order, and doing them again changes nothing:

    controls    control characters removed; every kind of line break becomes a newline
    invisible   zero-width spaces, byte-order marks, word joiners and marks of writing direction removed; so are joiners,
                except in emoji and in the scripts that are spelt with them, such as Persian and Devanagari
    hyphens     soft hyphens removed
    spaces      every other kind of space becomes a plain one
    lines       newlines and tabs become spaces, for tokenizers that have no token for them
    compose     canonical composition (NFC)

Sources pass through here, and targets where a model is trained on them. Outputs and references do not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

# What is spelt with joiners: Arabic, Syriac, Mandaic and N'Ko, the scripts of India and their neighbours, Mongolian, emoji.
_JOINING = (
    "\u0600-\u085f\u08a0-\u08ff\u0900-\u109f\u1700-\u18af\u1900-\u1cff\ua800-\uaaff\ufb50-\ufdff\ufe70-\ufefc\ufe0f"
    "\u20e3\u2190-\u2bff\U00010a00-\U00011fff\U0001f000-\U0001faff"
)
_CONTROLS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]|[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_INVISIBLE = re.compile(
    rf"[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\u180e\ufeff]|(?<![{_JOINING}])[\u200c\u200d]"
)
_HYPHENS = re.compile("\u00ad")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_LINES = re.compile(r"[\n\t]")
_BREAKS = re.compile(r"[\r\x0b\x0c\x85\u2028\u2029]")


def _controlled(text: str) -> str:
    return _CONTROLS.sub(lambda found: "\n" if _BREAKS.match(found[0]) else "", text)


def _without_invisible(text: str) -> str:
    return _INVISIBLE.sub("", text)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


_STEPS: dict[str, Callable[[str], str]] = {
    "controls": _controlled,
    "invisible": _without_invisible,
    "hyphens": lambda text: _HYPHENS.sub("", text),
    "spaces": lambda text: _SPACES.sub(" ", text),
    "lines": lambda text: _LINES.sub(" ", text),
    "compose": _composed,
}
STEPS = tuple(_STEPS)

LINES = "lines"
"""The step after which a text is one line."""

_SAMPLES: dict[str, tuple[str, ...]] = {
    "controls": ("a\x07b", "a\x1fb"),
    "invisible": ("a\u200bb", "a\ufeffb", "a\u2060b", "a\u200eb"),
    "hyphens": ("a\u00adb",),
    "spaces": ("a\u00a0b", "a\u2009b", "a\u202fb"),
    "lines": ("a\nb",),
    "compose": ("u\u0308", "e\u0301"),
}
"""What each step changes, one character between others."""


def normalized(text: str, steps: Sequence[str]) -> str:
    """The text after these steps, which are of STEPS and in their order."""
    if text.isascii() and text.isprintable():
        return text
    for step in steps:
        text = _STEPS[step](text)
    return text


def missing_steps(token_ids: Callable[[str], Sequence[int]], unknown_id: int | None) -> tuple[str, ...]:
    """The steps that a tokenizer does not do itself, of a text that it makes `token_ids` of.

    It does one when each of the step's characters has the tokens that it would have as a space, or left out. A newline may
    also be a token of its own, as it is for byte pairs.
    """

    def done(step: str, sample: str) -> bool:
        ids = list(token_ids(sample))
        if ids == list(token_ids(_STEPS[step](sample))) or (len(sample) == 3 and ids == list(token_ids("a b"))):
            return True
        return step == LINES and unknown_id not in ids

    return tuple(step for step in STEPS if not all(done(step, sample) for sample in _SAMPLES[step]))
