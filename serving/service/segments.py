"""A text to what is translated of it, sentence by sentence, and what stands between: that is kept as it is.

Kept are white space, line breaks, the markers of lists and headings, symbols and emoji around a sentence, and sentences that
are none: numbers, symbols, addresses on the web, words of another script. A model that was trained on sentences makes
something up for them, or drops them.

A line ends a sentence, except in prose that was wrapped: in consecutive lines that are all as full as they can be. A number
with a full stop is the marker of a line where several lines have one; else it may be a date.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from serving.service.scripts import has_letters
from serving.service.windows import TokenStarts, fitting, packed, sentences

_BREAK = re.compile(r"[\n\r\x0b\x0c\x85\u2028\u2029]")
_LINE = re.compile(r"[^\n\r\x0b\x0c\x85\u2028\u2029]+")
_MARKER = re.compile(r"(?:(?:[-*+•‣⁃◦▪▫●○■□–—·>]|#{1,6}|\[[ xX]\]|\(?(?:\d{1,3}|[^\W\d_])\))\s+)+")
_NUMBER = re.compile(r"(?:\d{1,3}(?:\.\d{1,3})+\.?|\d{1,3}\.|[^\W\d_]\.|[ivxIVX]{2,5}\.)\s+")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|[^\s@]+@[^\s@]+\.[^\s@]+")
_SENTENCE_END = re.compile(r"[.!?:;…。！？][\"'”“’»)\]]*$")
_ARROWS = re.compile("[\u2190-\u21ff\u27f0-\u27ff\u2900-\u297f]")
_OF_EMOJI = "\u200d\u20e3\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
_SYMBOLS = ("So", "Cf", "Co", "Cn")

NARROWEST, WIDEST = 50, 100
"""Characters of the longest line of wrapped prose. Shorter lines are a poem or an address, longer ones are paragraphs."""


@dataclass(frozen=True)
class Segment:
    """A sentence, or a part of one that is too long."""

    before: str
    """What stands before it, to put between its translation and the one before."""
    text: str


@dataclass(frozen=True)
class Segments:
    """A text in order: what comes before each segment, its translation, and what comes at the end."""

    segments: tuple[Segment, ...]
    after: str


def in_one(text: str, script: str | None) -> Segments:
    """The text in one, without white space, emoji and symbols around; without a segment where no sentence is in it.

    `script` is the ISO 15924 code of the script that it should be in.
    """
    text = text.removeprefix("\ufeff")
    start, end = _inner(text, 0, len(text))
    if not _is_sentence(text[start:end], script):
        return Segments((), text)
    return Segments((Segment(text[:start], text[start:end]),), text[end:])


def by_sentence(
    text: str, language: str, script: str | None, between: str, room: int, token_starts: TokenStarts
) -> Segments:
    """Sentences of at most `room` tokens each.

    `language` is an ISO 639 code. `between` separates translations of what nothing, or nothing but spaces, separates here:
    empty for languages that are written so.
    """
    text = text.removeprefix("\ufeff")
    found: list[Segment] = []
    done = 0
    for line_start, line_end in _lines(text):
        for sentence_start, sentence_end in sentences(text, language, line_start, line_end):
            start, end = _inner(text, sentence_start, sentence_end)
            if not _is_sentence(text[start:end], script):
                continue
            for piece_start, piece_end in packed(fitting(text, start, end, room, token_starts), room):
                before = text[done:piece_start]
                if found and not before.strip(" "):
                    before = (before or " ") if between else ""
                piece = text[piece_start:piece_end]
                found.append(Segment(before, " ".join(piece.split()) if _BREAK.search(piece) else piece))
                done = piece_end
    return Segments(tuple(found), text[done:])


def _is_sentence(text: str, script: str | None) -> bool:
    return has_letters(text, script) and not _ADDRESS.fullmatch(text)


def _inner(text: str, start: int, end: int) -> tuple[int, int]:
    """Start and end without white space, emoji and symbols around."""
    while start < end and _is_apart(text[start]):
        start += 1
    while start < end and _is_apart(text[end - 1]):
        end -= 1
    return start, end


def _is_apart(character: str) -> bool:
    if character.isalnum():
        return False
    return (
        character.isspace()
        or character in _OF_EMOJI
        or unicodedata.category(character) in _SYMBOLS
        or _ARROWS.match(character) is not None
    )


def _lines(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each line, without its marker and the white space around; of wrapped prose, of all its lines."""
    lines = [found.span() for found in _LINE.finditer(text) if not found[0].isspace()]
    inner = [_stripped(text, start, end) for start, end in lines]
    numbered = sum(_NUMBER.match(text, start, end) is not None for start, end in inner) > 1
    starts = [_behind_marker(text, start, end, numbered) for start, end in inner]
    block: list[int] = []
    for place, ((start, _), behind) in enumerate(zip(inner, starts, strict=True)):
        follows = bool(block) and behind == start and _is_one_break(text[inner[place - 1][1] : start])
        if not follows:
            yield from _spans(text, block, lines, inner, starts)
            block = []
        block.append(place)
    yield from _spans(text, block, lines, inner, starts)


def _spans(
    text: str, block: list[int], lines: list[tuple[int, int]], inner: list[tuple[int, int]], starts: list[int]
) -> Iterator[tuple[int, int]]:
    """The lines of a block without blank lines and markers, in one where they are wrapped prose."""
    if len(block) > 1 and _is_wrapped([text[lines[place][0] : inner[place][1]] for place in block]):
        yield starts[block[0]], inner[block[-1]][1]
    else:
        for place in block:
            yield starts[place], inner[place][1]


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    line = text[start:end]
    return start + len(line) - len(line.lstrip()), start + len(line.rstrip())


def _behind_marker(text: str, start: int, end: int, numbered: bool) -> int:
    found = _MARKER.match(text, start, end) or (_NUMBER.match(text, start, end) if numbered else None)
    return found.end() if found else start


def _is_one_break(between: str) -> bool:
    return len(_BREAK.findall(between.replace("\r\n", "\n"))) == 1


def _is_wrapped(lines: list[str]) -> bool:
    width = max(map(len, lines))
    if not NARROWEST <= width <= WIDEST or all(_SENTENCE_END.search(line) for line in lines[:-1]):
        return False
    return all(len(line) + 1 + len(following.split(None, 1)[0]) > width for line, following in pairwise(lines))
