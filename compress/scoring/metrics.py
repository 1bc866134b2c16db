"""Each task's own metric, by the well-kept libraries, with texts cut as their language needs (`tokenization`).

An example may have several references. BLEU and chrF take them as sacreBLEU does; each ROUGE score is the best over the
references, as in SciTLDR (Cachola et al., Findings of EMNLP 2020, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from compress.scoring.tokenization import Tokenization, tokenizations
from quant.card import Task

References = Sequence[Sequence[str]]
"""For each example, its references: one or more."""
TargetLanguages = Sequence[str | None]
"""For each example, the code of the language that its target is in, as far as it is known."""

ROUGE = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL", "ROUGE-Lsum": "rougeLsum"}
SELECTION: dict[Task, str] = {"translation": "BLEU", "summarization": "ROUGE-Lsum", "question-answering": "ROUGE-Lsum"}
"""The score that selects checkpoints."""
SENTENCE: dict[Task, str] = {**SELECTION, "translation": "chrF"}
"""The score of a single output. BLEU is made for whole corpora: most sentences lack a 4-gram match."""


@dataclass(frozen=True)
class Scores:
    """Scores in 0–100 by name, the one that selects checkpoints, and the libraries' signatures."""

    values: dict[str, float]
    selection: str
    signatures: dict[str, str]

    @property
    def selected(self) -> float:
        return self.values[self.selection]


def score(task: Task, hypotheses: Sequence[str], references: References, languages: TargetLanguages | None = None) -> Scores:
    """BLEU and chrF (sacreBLEU's defaults) for translation; mean ROUGE-1/2/L/Lsum F1 for the other tasks."""
    if task == "translation":
        values, signatures = {}, {}
        for name, metric in translation_metrics(references, languages).items():
            values[name] = metric.corpus_score(hypotheses, reference_streams(references)).score
            signatures[name] = str(metric.get_signature())
    else:
        scores = rouge(hypotheses, references, languages)
        values = {name: sum(each) / len(each) for name, each in scores.items()}
        signatures = dict.fromkeys(scores, _rouge_signature(references, languages))
    return Scores(values, SELECTION[task], signatures)


def sentence_scores(
    task: Task, hypotheses: Sequence[str], references: References, languages: TargetLanguages | None = None
) -> list[float]:
    """The score `SENTENCE[task]` of every output, in 0–100."""
    if task != "translation":
        return rouge(hypotheses, references, languages)[SENTENCE[task]]
    chrf = translation_metrics(references, languages)[SENTENCE[task]]
    return [float(chrf.sentence_score(text, list(each)).score) for text, each in zip(hypotheses, references, strict=True)]


def zero_warning(scores: Scores, hypotheses: Sequence[str]) -> str | None:
    """A line on scores that are 0 although the model wrote something: such scores tell no two checkpoints apart."""
    zero = [name for name, value in scores.values.items() if value == 0]
    written = sum(bool(text.strip()) for text in hypotheses)
    if not zero or not written:
        return None
    signed = "; ".join(f"{name} {scores.signatures[name]}" for name in zero)
    return (
        f"warning: {', '.join(zero)} of 0 although {written:,} of {len(hypotheses):,} outputs are not empty: they are too "
        f"short for it or share nothing with their references, as the texts are cut here ({signed})"
    )


def translation_metrics(references: References, languages: TargetLanguages | None = None) -> dict[str, Any]:
    """sacreBLEU's metrics by name, new ones: they keep what they learn of the references."""
    from sacrebleu.metrics import CHRF

    from compress.scoring.bleu import bleu

    return {"BLEU": bleu(tokenizations(references, languages)), "chrF": CHRF()}


def reference_streams(references: References) -> list[list[str | None]]:
    """As sacreBLEU takes references: a list of first ones, of second ones and so on; None where an example has no more."""
    return [list(stream) for stream in zip_longest(*references)]


def rouge(
    hypotheses: Sequence[str], references: References, languages: TargetLanguages | None = None
) -> dict[str, list[float]]:
    """Name → the F1 of every output in 0–100, the best over its references."""
    from rouge_score.rouge_scorer import RougeScorer

    cuts = tokenizations(references, languages)
    scorers = {cut: RougeScorer(list(ROUGE.values()), tokenizer=cut) for cut in set(cuts)}
    scores: dict[str, list[float]] = {name: [] for name in ROUGE}
    for hypothesis, each, cut in zip(hypotheses, references, cuts, strict=True):
        written = _lines(hypothesis, cut)
        results = [scorers[cut].score(_lines(reference, cut), written) for reference in each]
        for name, key in ROUGE.items():
            scores[name].append(100 * max(result[key].fmeasure for result in results))
    return scores


def _rouge_signature(references: References, languages: TargetLanguages | None) -> str:
    import rouge_score

    version = getattr(rouge_score, "__version__", "0.1.2")
    cuts = " / ".join(dict.fromkeys(cut.rouge_signature for cut in tokenizations(references, languages)))
    best = ", best of the references" if any(len(each) > 1 for each in references) else ""
    return f"rouge-score {version}, {cuts}{best}"


def _lines(text: str, cut: Tokenization) -> str:
    """One sentence a line, which is how ROUGE-Lsum finds sentences."""
    return "\n".join(cut.sentences(text))
