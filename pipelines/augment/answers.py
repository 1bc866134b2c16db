"""What is made for question answering: altered copies of rows, and questions about any texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from compress.errors import DatasetError
from pipelines.augment.commands import Augment
from pipelines.augment.passages import cropped, sentences_of, shuffled
from pipelines.augment.questions import FUNCTION_WORDS, question_about
from pipelines.augment.rows import draws, examples_of, texts_of_any_column
from pipelines.augment.words import Words, with_made_up_words
from quant.card import passages

_ANSWER_WORDS = range(5, 46)
"""Words of a sentence that is asked about: what has fewer is no sentence, what has more is a table or a list."""
_AT_ENDS = " .,;:!?()\"'"
"""Taken from the ends of pieces of sentences."""
_DRAWS_PER_QUESTION = 50
"""Passages tried for each question before the texts are given up."""


def answers(settings: Augment) -> Iterator[Mapping[str, str]]:
    """Rows of question, context and answer. Raises DatasetError."""
    return _questions(settings, settings.questions) if settings.questions else _copies(settings)


def _copies(settings: Augment) -> Iterator[Mapping[str, str]]:
    rows = [
        (str(example.texts["question"]), " ".join(passages(example.texts["context"])), example.target)
        for example in examples_of(settings)
    ]
    words = Words(context for _, context, _ in rows)
    for copy in range(settings.copies):
        for place, (question, context, answer) in enumerate(rows):
            generator = draws(settings, place, copy)
            if generator.random() < settings.shuffle:
                context = shuffled(context, answer, generator)
            if generator.random() < settings.crop:
                context = _around(question, context, answer, settings.crop_words, words, generator)
            yield _row([question, context, answer], settings, words, generator)


def _questions(settings: Augment, count: int) -> Iterator[Mapping[str, str]]:
    texts = texts_of_any_column(settings)
    words = Words(texts)
    low, high = settings.question_sentences
    for place in range(count):
        generator = draws(settings, place)
        for _ in range(_DRAWS_PER_QUESTION):
            passage = _passage(texts, generator.randint(low, high), settings.fragment_words, generator)
            at = generator.randrange(len(passage))
            answer, others = passage[at], passage[:at] + passage[at + 1 :]
            if not others or (settings.fragment_words is None and len(answer.split()) not in _ANSWER_WORDS):
                continue
            question = question_about(answer, others, words, generator)
            if question is not None:
                yield _row([question, " ".join(passage), answer], settings, words, generator)
                break
        else:
            raise DatasetError(f"{', '.join(settings.source)}: no question can be made of texts like these")


def _passage(texts: Sequence[str], length: int, fragment: Sequence[int] | None, generator: Random) -> list[str]:
    """So many sentences that follow each other in a text, or pieces of sentences of different ones."""
    if fragment is None:
        return _part(sentences_of(generator.choice(texts)), length, generator)
    pieces = []
    for _ in range(length):
        sentence = generator.choice(sentences_of(generator.choice(texts)))
        piece = " ".join(_part(sentence.split(), generator.randint(*fragment), generator))
        pieces.append(piece.strip(_AT_ENDS) + ".")
    return pieces


def _part(pieces: list[str], length: int, generator: Random) -> list[str]:
    start = generator.randint(0, max(0, len(pieces) - length))
    return pieces[start : start + length]


def _around(question: str, context: str, answer: str, most: Sequence[int], words: Words, generator: Random) -> str:
    """The part of a context where a phrase was taken from: the sentence that shares most words with answer and question.

    As it is where the answer is sentences of the context.
    """
    if answer in context and len(sentences_of(answer)) > 1:
        return context
    sentences = sentences_of(context)
    asked, said = words.content(question, FUNCTION_WORDS), words.content(answer, FUNCTION_WORDS)
    found = [words.content(sentence, FUNCTION_WORDS) for sentence in sentences]
    best = max(range(len(sentences)), key=lambda at: len(asked & found[at]) + 2 * len(said & found[at]))
    return cropped(sentences, range(max(0, best - 1), best + 1), generator.randint(*most), generator)


def _row(texts: list[str], settings: Augment, words: Words, generator: Random) -> Mapping[str, str]:
    if generator.random() < settings.made_up:
        texts = with_made_up_words(texts, texts[1], words, settings.kept_words, settings.made_up_words, generator)
    return dict(zip(("question", "context", "answer"), texts, strict=True))
