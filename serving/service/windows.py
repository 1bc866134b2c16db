"""A long text to windows: parts that a model can read one at a time, cut where it hurts least.

Windows end where sentences end. A sentence that is longer than a window is split between words, a word that is longer at
tokens. Sentences are found by `sentencex`, which knows the abbreviations of many languages and keeps every character; it
looks at one paragraph at a time, with all white space as plain spaces, since it stumbles over rarer kinds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import sentencex

TokenStarts = Callable[[str], list[int]]
"""Where each token of a text starts, in characters, ascending."""

PARAGRAPH = re.compile(r"\S(?:.|\n(?!\s*\n))*")
WORD = re.compile(r"\S+")
SPACE = re.compile(r"\s")

BLOCK = 4000
"""Characters in which sentences are looked for at a time: the search takes their square where many quotes stay open."""


def split(text: str, language: str, room: int, token_starts: TokenStarts) -> list[str]:
    """Windows of at most `room` tokens, in order, with all of the text that is not white space around them.

    `language` is an ISO 639 code. A window holds as many sentences as it has room for. Tokens are counted sentence by
    sentence: where a tokenizer makes more of sentences together than of each alone, a window has more than `room`.
    """
    pieces = (piece for start, end in sentences(text, language) for piece in fitting(text, start, end, room, token_starts))
    return [text[start:end] for start, end in packed(pieces, room)]


def packed(pieces: Iterable[tuple[int, int, int]], room: int) -> Iterator[tuple[int, int]]:
    """Pieces of a text, given by start, end and tokens, as many together as there is room for: start and end of each lot."""
    first: int | None = None
    last = used = 0
    for start, end, tokens in pieces:
        if first is not None and used + tokens > room:
            yield first, last
            first, used = None, 0
        first = start if first is None else first
        last, used = end, used + tokens
    if first is not None:
        yield first, last


def sentences(text: str, language: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence in this part of a text, in characters, without the white space around it."""
    for paragraph in PARAGRAPH.finditer(text, start, len(text) if end is None else end):
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
                first = paragraph.start() + at + len(sentence) - len(sentence.lstrip())
                if stripped := sentence.strip():
                    yield first, first + len(stripped)
                at += len(sentence)


def fitting(text: str, start: int, end: int, room: int, token_starts: TokenStarts) -> Iterator[tuple[int, int, int]]:
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
