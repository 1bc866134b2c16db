"""Passages cut and put in another order, so that the place of an answer tells nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence

from serving.service.windows import sentences

_LANGUAGE = "en"
"""By whose rules sentences end."""


def sentences_of(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text, _LANGUAGE)]


def blocks_of(context: str, answer: str) -> tuple[list[str], int | None]:
    """A context's sentences, those of the answer in one, and where that is; None where the answer is no sentences of it."""
    start = context.find(answer)
    if start < 0:
        return sentences_of(context), None
    end = start + len(answer)
    before = sentences_of(context[:start])
    if not answer.rstrip().endswith((".", "!", "?", '"', ")")) or (before and before[-1][-1].isalnum()):
        return sentences_of(context), None  # a phrase within a sentence
    return [*before, answer, *sentences_of(context[end:])], len(before)


def shuffled(context: str, answer: str, generator: random.Random) -> str:
    """The sentences in another order, those of the answer together; as it is where the answer is no sentences of it."""
    blocks, at = blocks_of(context, answer)
    if at is None:
        return context
    generator.shuffle(blocks)
    return " ".join(blocks)


def cropped(sentences: Sequence[str], kept: range, most_words: int, generator: random.Random) -> str:
    """Those `kept`, with neighbours on either side as long as all have at most `most_words` words."""
    start, stop = kept.start, kept.stop
    while start > 0 or stop < len(sentences):
        before = stop == len(sentences) or (start > 0 and generator.random() < 0.5)
        more = sentences[start - 1] if before else sentences[stop]
        if sum(len(each.split()) for each in [*sentences[start:stop], more]) > most_words:
            break
        start, stop = (start - 1, stop) if before else (start, stop + 1)
    return " ".join(sentences[start:stop])
