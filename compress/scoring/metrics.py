"""Each task's own metric, by the well-kept libraries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from quant.card import Task

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Scores:
    """Scores in 0–100 by name, the one that selects checkpoints, and the libraries' signatures."""

    values: dict[str, float]
    selection: str
    signatures: dict[str, str]

    @property
    def selected(self) -> float:
        return self.values[self.selection]


def score(task: Task, hypotheses: Sequence[str], references: Sequence[str]) -> Scores:
    """BLEU and chrF (sacreBLEU's defaults) for translation; ROUGE-1/2/L/Lsum F1 with stemmer for the other tasks."""
    return _translation_scores(hypotheses, references) if task == "translation" else _rouge_scores(hypotheses, references)


def _translation_scores(hypotheses: Sequence[str], references: Sequence[str]) -> Scores:
    from sacrebleu.metrics import BLEU, CHRF

    metrics = {"BLEU": BLEU(), "chrF": CHRF()}
    values = {name: metric.corpus_score(hypotheses, [references]).score for name, metric in metrics.items()}
    signatures = {name: str(metric.get_signature()) for name, metric in metrics.items()}
    return Scores(values, "BLEU", signatures)


def _rouge_scores(hypotheses: Sequence[str], references: Sequence[str]) -> Scores:
    import rouge_score
    from rouge_score.rouge_scorer import RougeScorer

    names = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL", "ROUGE-Lsum": "rougeLsum"}
    scorer = RougeScorer(list(names.values()), use_stemmer=True)
    sums = dict.fromkeys(names, 0.0)
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        result = scorer.score(_sentences(reference), _sentences(hypothesis))
        for name, key in names.items():
            sums[name] += result[key].fmeasure
    values = {name: 100 * total / len(references) for name, total in sums.items()}
    signature = f"rouge-score {getattr(rouge_score, '__version__', '0.1.2')}, stemmer, sentences split after .!?"
    return Scores(values, "ROUGE-Lsum", dict.fromkeys(names, signature))


def _sentences(text: str) -> str:
    """One sentence a line, which is how ROUGE-Lsum finds sentences."""
    return "\n".join(_SENTENCE_END.split(text))
