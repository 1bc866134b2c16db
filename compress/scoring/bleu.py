"""BLEU by sacreBLEU, each text cut as its language needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics import BLEU

from compress.scoring.tokenization import Tokenization


def bleu(tokenizations: Sequence[Tokenization]) -> BLEU:
    """sacreBLEU's metric for examples that are cut like this, in this order; the signature names the tokenizers."""
    names = list(dict.fromkeys(each.bleu for each in tokenizations))
    return BLEU(tokenize=names[0]) if len(names) == 1 else _MixedBLEU([each.bleu for each in tokenizations])


class _MixedBLEU(BLEU):  # type: ignore[misc]
    """One figure over several languages, as a model is validated that translates both ways: sacreBLEU has one tokenizer
    for all texts, so they are cut before it sees them."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(tokenize="none", force=True)
        cutters = {name: BLEU(tokenize=name) for name in dict.fromkeys(names)}
        self._cutters = [cutters[name].tokenizer for name in names]
        self.tokenizer_signature = "+".join(each.tokenizer_signature for each in cutters.values())

    def _cut(self, texts: Sequence[str | None]) -> list[str | None]:
        return [None if text is None else cutter(text.rstrip()) for cutter, text in zip(self._cutters, texts, strict=True)]

    def _cache_references(self, references: Sequence[Sequence[str | None]]) -> list[Any]:
        cached: list[Any] = super()._cache_references([self._cut(stream) for stream in references])
        return cached

    def _extract_corpus_statistics(self, hypotheses: Sequence[str], references: Any) -> Any:
        return super()._extract_corpus_statistics(self._cut(hypotheses), references)
