"""BART's own pretraining objective (Lewis et al., ACL 2020, section 2.2): restore a text that was corrupted.

*Sentence permutation*: the sentences of a text are shuffled. *Text infilling*: spans of tokens, their lengths drawn from a
Poisson distribution of mean 3, are each replaced by one mask token until 30 % of the tokens are masked; a span of length 0
inserts a mask. The target is the text as it was.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from compress.data.encoded import Encoded
from compress.errors import CompressError

MASKED_SHARE = 0.3
MEAN_SPAN = 3.0
_ENDS = (".", "!", "?")
# Where a word begins, as byte-level BPE and SentencePiece write it.
_WORD_STARTS = ("Ġ", "▁")


class Denoising:
    """Corrupts the source of an example; affixes (`<s>`, `</s>`, a language code) stay where they are."""

    def __init__(self, tokenizer: Any, prefix: int, suffix: int) -> None:
        """`prefix` and `suffix` are the numbers of tokens around the text in every source. Raises CompressError."""
        if tokenizer.mask_token_id is None:
            raise CompressError("denoising puts mask tokens in place of text, and the model has none: train it for its task")
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        self._mask_id: int = tokenizer.mask_token_id
        self._ends = {index for token, index in vocabulary.items() if token.endswith(_ENDS)}
        self._starts = {index for token, index in vocabulary.items() if token.startswith(_WORD_STARTS)}
        self._prefix = prefix
        self._suffix = suffix

    def __call__(self, example: Encoded, generator: random.Random) -> Encoded:
        """The example with a corrupted source; never longer than it was."""
        ids = example.source_ids
        end = len(ids) - self._suffix
        text = infilled(self._permuted(ids[self._prefix : end], generator), self._mask_id, generator)
        return replace(example, source_ids=[*ids[: self._prefix], *text[: end - self._prefix], *ids[end:]])

    def _permuted(self, ids: Sequence[int], generator: random.Random) -> list[int]:
        sentences: list[list[int]] = [[]]
        for index, token in enumerate(ids):
            sentences[-1].append(token)
            if token in self._ends and index + 1 < len(ids) and ids[index + 1] in self._starts:
                sentences.append([])
        generator.shuffle(sentences)
        return [token for sentence in sentences for token in sentence]


def infilled(ids: Sequence[int], mask_id: int, generator: random.Random) -> list[int]:
    """`ids` with spans that hold 30 % of the tokens (rounded down) replaced by one mask each."""
    left = int(MASKED_SHARE * len(ids))
    spans: list[int] = []
    while left:
        spans.append(min(left, _poisson(MEAN_SPAN, generator)))
        left -= spans[-1]
    # The other tokens keep their order; spans lie at random gaps between them.
    kept = len(ids) - sum(spans)
    result: list[int] = []
    place = before = 0
    for gap, span in zip(sorted(generator.randint(0, kept) for _ in spans), spans, strict=True):
        result += [*ids[place : place + gap - before], mask_id]
        place, before = place + gap - before + span, gap
    return [*result, *ids[place:]]


def _poisson(mean: float, generator: random.Random) -> int:
    """Knuth's method."""
    threshold, product, count = math.exp(-mean), generator.random(), 0
    while product > threshold:
        product *= generator.random()
        count += 1
    return count
