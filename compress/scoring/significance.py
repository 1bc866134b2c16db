"""Whether two models' scores differ by more than chance: the paired bootstrap (Koehn, EMNLP 2004).

The examples are drawn anew with replacement, the same ones for both models, and both are scored on each draw. The interval
holds the middle 95 % of the differences. The p-value is the chance of a difference at least as large between equal models.
For translation it is sacreBLEU's own paired test; ROUGE is the mean over examples, and the same test is done over those.
Both draw with sacreBLEU's seed, so that a comparison repeats to the digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.scoring.metrics import References, TargetLanguages, reference_streams, rouge, translation_metrics
from quant.card import Task

SEED = 12345
"""sacreBLEU's, where SACREBLEU_SEED does not name another."""
COVERAGE = 0.95
_BLOCK = 256
"""Draws at a time, so that their indices take little memory."""


@dataclass(frozen=True)
class Difference:
    """One score of two models, in 0–100, and how sure their difference is."""

    baseline: float
    system: float
    low: float
    """Of the interval of `system - baseline`."""
    high: float
    p_value: float

    @property
    def difference(self) -> float:
        return self.system - self.baseline


def score_differences(
    task: Task,
    baseline: Sequence[str],
    system: Sequence[str],
    references: References,
    samples: int,
    languages: TargetLanguages | None = None,
) -> dict[str, Difference]:
    """Each of the task's scores, for the outputs of both models on the same examples; `samples` draws."""
    if task == "translation":
        return _translation(baseline, system, references, samples, languages)
    before, after = rouge(baseline, references, languages), rouge(system, references, languages)
    return {name: _mean_difference(np.array(before[name]), np.array(after[name]), samples) for name in before}


def _translation(
    baseline: Sequence[str],
    system: Sequence[str],
    references: References,
    samples: int,
    languages: TargetLanguages | None,
) -> dict[str, Difference]:
    from sacrebleu.significance import PairedTest

    streams, metrics = reference_streams(references), translation_metrics(references, languages)
    systems = [("baseline", list(baseline)), ("system", list(system))]
    _, results = PairedTest(systems, metrics, streams, test_type="bs", n_samples=samples)()
    del results["System"]  # what is left are two results of each metric, in their order and by its name in full
    differences = {}
    fresh = translation_metrics(references, languages).items()
    for (name, metric), (first, second) in zip(fresh, results.values(), strict=True):
        # What sacreBLEU resamples, too: it says how sure each score is, and not how sure their difference.
        statistics = [
            np.array(metric._extract_corpus_statistics(texts, streams), dtype=np.float64) for texts in (baseline, system)
        ]
        before, after = (
            np.array([metric._compute_score_from_stats(drawn).score for drawn in _drawn_sums(each, samples)])
            for each in statistics
        )
        low, high = _interval(after - before)
        # sacreBLEU calls no difference at all a sure one.
        p_value = second.p_value if (before != after).any() else 1.0
        differences[name] = Difference(first.score, second.score, low, high, p_value)
    return differences


def _mean_difference(before: NDArray[Any], after: NDArray[Any], samples: int) -> Difference:
    drawn = _drawn_sums(np.stack([before, after], 1), samples) / len(before)
    differences = drawn[:, 1] - drawn[:, 0]
    low, high = _interval(differences)
    magnitudes = np.abs(differences)
    extreme = (magnitudes - magnitudes.mean() > abs(after.mean() - before.mean())).sum()
    p_value = float((extreme + 1) / (samples + 1)) if differences.any() else 1.0
    return Difference(float(before.mean()), float(after.mean()), low, high, p_value)


def _drawn_sums(statistics: NDArray[Any], samples: int) -> NDArray[Any]:
    """Sums [samples, width] of rows of `statistics` [examples, width], drawn with replacement; alike for equal lengths."""
    generator, count = np.random.default_rng(SEED), len(statistics)
    blocks = [min(_BLOCK, samples - start) for start in range(0, samples, _BLOCK)]
    return np.concatenate([statistics[generator.integers(count, size=(block, count))].sum(1) for block in blocks])


def _interval(differences: NDArray[Any]) -> tuple[float, float]:
    low, high = np.quantile(differences, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)
