"""A long text to windows: parts that a model can read one at a time, cut where it hurts least.

Windows end where sentences end. A sentence that is longer than a window is split between words, a word that is longer at
tokens. Sentences are found by `sentencex`, which knows the abbreviations of many languages and keeps every character; it
looks at one paragraph at a time, with all white space as plain spaces, since it stumbles over rarer kinds. What this gives
up: lines without a full stop, such as those of a list, count as one sentence until a blank line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import sentencex

TokenStarts = Callable[[str], list[int]]
"""Where each token of a text starts, in characters, ascending."""

PARAGRAPH = re.compile(r"\S(?:.|\n(?!\s*\n))*")
WORD = re.compile(r"\S+")
SPACE = re.compile(r"\s")

BLOCK = 4000
"""Characters in which sentences are looked for at a time: the search takes their square where many quotes stay open."""


@dataclass(frozen=True)
class Window:
    """A part of a text, without the white space around it."""

    text: str
    separator: str
    """What stands before it, to put between its answer and the one before: newlines after a paragraph, else a space."""


@dataclass(frozen=True)
class _Piece:
    """What is not split further: characters start to end, white space left out."""

    start: int
    end: int
    tokens: int
    separator: str
    starts_sentence: bool


def split(text: str, language: str, room: int, token_starts: TokenStarts, pack: bool) -> list[Window]:
    """Windows of at most `room` tokens, in order, with all of the text that is not white space.

    `language` is an ISO 639 code. With `pack` a window holds as many sentences as it has room for, else one at most. Tokens
    are counted sentence by sentence: where a tokenizer makes more of sentences together than of each alone, a window has
    more than `room`.
    """
    windows: list[Window] = []
    group: list[_Piece] = []
    for piece in _pieces(text, language, room, token_starts):
        full = sum(each.tokens for each in group) + piece.tokens > room
        if group and (full or (piece.starts_sentence and not pack)):
            windows.append(_window(text, group))
            group = []
        group.append(piece)
    return [*windows, _window(text, group)] if group else windows


def sentences(text: str, language: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence in characters, without the white space around it."""
    for paragraph in PARAGRAPH.finditer(text):
        plain = SPACE.sub(" ", paragraph[0])
        at = 0
        while at < len(plain):
            block = plain[at : at + BLOCK]
            goes_on = at + BLOCK < len(plain)
            if goes_on:
                block = block[: block.rfind(" ") + 1] or block
            found = sentencex.segment(language, block)
            if goes_on and len(found) > 1:
                # The last one may go on in the next block.
                found.pop()
            for sentence in found:
                start = paragraph.start() + at + len(sentence) - len(sentence.lstrip())
                if stripped := sentence.strip():
                    yield start, start + len(stripped)
                at += len(sentence)


def _window(text: str, pieces: list[_Piece]) -> Window:
    return Window(text[pieces[0].start : pieces[-1].end], pieces[0].separator)


def _pieces(text: str, language: str, room: int, token_starts: TokenStarts) -> Iterator[_Piece]:
    before = 0
    for start, end in sentences(text, language):
        newlines = text[before:start].count("\n")
        separator, starts_sentence = "\n" * newlines or " ", True
        for piece_start, piece_end, tokens in _fitting(text, start, end, room, token_starts):
            yield _Piece(piece_start, piece_end, tokens, separator, starts_sentence)
            separator, starts_sentence = " ", False
        before = end


def _fitting(text: str, start: int, end: int, room: int, token_starts: TokenStarts) -> Iterator[tuple[int, int, int]]:
    """A sentence whole, else its words, else those in parts: start, end and tokens of each."""
    tokens = len(token_starts(text[start:end]))
    if tokens <= room:
        yield start, end, tokens
        return
    for word in WORD.finditer(text, start, end):
        starts = token_starts(word[0])
        # Tokens of one character start at the same place, where it cannot be cut.
        cuts = sorted({0, *starts[room::room], len(word[0])})
        for cut, following in pairwise(cuts):
            yield word.start() + cut, word.start() + following, min(room, len(starts))
