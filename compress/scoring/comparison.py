"""Two models on the same examples: what each wrote, how sure the difference in score is, and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compress.data.text_format import Example
from compress.scoring.metrics import SENTENCE, sentence_scores
from compress.scoring.significance import Difference, score_differences
from quant.card import Task


@dataclass(frozen=True)
class Change:
    """One example and both outputs for it, with the score `metrics.SENTENCE` of each."""

    example: Example
    teacher_output: str
    student_output: str
    teacher_score: float
    student_score: float

    @property
    def difference(self) -> float:
        return self.student_score - self.teacher_score

    def record(self) -> dict[str, Any]:
        entry = asdict(self)
        del entry["example"]
        scores = {name: round(value, 2) if isinstance(value, float) else value for name, value in entry.items()}
        return {**self.example.texts, "references": list(self.example.references), **scores}


@dataclass(frozen=True)
class Comparison:
    """Scores by name, and every example whose outputs differ, the largest difference in score first."""

    sentence_score: str
    differences: dict[str, Difference]
    changes: list[Change]


def compare(
    task: Task, examples: Sequence[Example], teacher: Sequence[str], student: Sequence[str], samples: int
) -> Comparison:
    """Compare the outputs of two models, in the order of the examples; `samples` draws of the bootstrap."""
    references = [example.references for example in examples]
    languages = [example.target_language for example in examples]
    scores = (sentence_scores(task, outputs, references, languages) for outputs in (teacher, student))
    rows = zip(examples, teacher, student, *scores, strict=True)
    changes = [change for change in (Change(*row) for row in rows) if change.teacher_output != change.student_output]
    changes.sort(key=lambda change: -abs(change.difference))
    differences = score_differences(task, teacher, student, references, samples, languages)
    return Comparison(SENTENCE[task], differences, changes)
