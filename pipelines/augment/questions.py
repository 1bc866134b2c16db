"""Questions made of the sentences of any text: the answer is a sentence of the passage, the question a few of its words.

    passage    Cleo Varga was born in Pécs. She went to sea in 1911. Her ship sank twice.
    question   when did she go to sea   (a number or a name of the sentence left out, asked for by the word that fits it)
    answer     She went to sea in 1911.

As the inverse cloze task (Lee et al. 2019) trains a retriever, so this trains a reader: to find what a question is about and
to copy it. Questions are crude on purpose, as people type them into a search engine.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from pipelines.augment.words import Words

FUNCTION_WORDS = 120
"""So many of a corpus's most frequent words say nothing of what a text is about."""
_TOKEN = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_OF_NUMBERS = ("how many", "how much", "what number of")
_OF_YEARS = ("when", "what year", "when was", "when did")
_OF_PLACES = ("where", "where is", "where was", "where did", "in what place")
_OF_NAMES = ("who", "what", "who is", "who was", "which", "what is the name of")
_OF_ALL = (
    "what is", "what are", "what does", "tell me about", "why", "how", "how does", "what about", "definition of", "what was",
    "who", "when", "where", "how to", "what causes", "describe", "meaning of", "", "", "",
)  # fmt: skip


def question_about(sentence: str, others: Sequence[str], words: Words, generator: random.Random) -> str | None:
    """A question of a sentence's words, that no other sentence has as many of; None where it has none such."""
    for _ in range(6):
        question = _asked(sentence, generator)
        asked = words.content(question, FUNCTION_WORDS) | set(re.findall(r"\d+", question))
        found = len(asked & _content(sentence, words))
        if found and all(len(asked & _content(other, words)) < found for other in others):
            return _as_typed(question, generator)
    return None


def _content(text: str, words: Words) -> set[str]:
    return words.content(text, FUNCTION_WORDS) | set(re.findall(r"\d+", text))


def _asked(sentence: str, generator: random.Random) -> str:
    tokens = _TOKEN.findall(sentence)
    if len(tokens) < 4:
        return sentence
    names = [at for at, token in enumerate(tokens) if token[0].isdigit() or (at and token[0].isupper())]
    if names and generator.random() < 0.4:
        at = generator.choice(names)
        rest = tokens[max(0, at - generator.randint(2, 7)) : at] + _after_name(tokens, at)[: generator.randint(0, 5)]
        if rest:
            return f"{generator.choice(_asking_for(tokens, at))} {' '.join(_thinned(rest, generator))}"
    length = min(len(tokens), generator.randint(1, 7))
    start = 0 if generator.random() < 0.4 else generator.randint(0, len(tokens) - length)
    return f"{generator.choice(_OF_ALL)} {' '.join(_thinned(tokens[start : start + length], generator))}".strip()


def _after_name(tokens: list[str], at: int) -> list[str]:
    while at + 1 < len(tokens) and tokens[at + 1][0].isupper():
        at += 1
    return tokens[at + 1 :]


def _asking_for(tokens: list[str], at: int) -> Sequence[str]:
    token, before = tokens[at], tokens[at - 1].lower() if at else ""
    if re.fullmatch(r"1\d{3}|20\d{2}", token):
        return _OF_YEARS
    if token[0].isdigit():
        return _OF_NUMBERS
    return _OF_PLACES if before in ("in", "at", "from", "near", "to") else _OF_NAMES


def _thinned(tokens: Sequence[str], generator: random.Random) -> list[str]:
    """Without some words, now and then two of them changed in their order."""
    kept = [token for token in tokens if generator.random() < 0.85] or [generator.choice(tokens)]
    if len(kept) > 2 and generator.random() < 0.2:
        at = generator.randrange(len(kept) - 1)
        kept[at], kept[at + 1] = kept[at + 1], kept[at]
    return kept


def _as_typed(question: str, generator: random.Random) -> str:
    """In lower case without a question mark, as in a search engine, or as it is written."""
    if generator.random() < 0.5:
        return question.lower()
    return question[:1].upper() + question[1:] + "?"
