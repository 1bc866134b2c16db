"""A model to be scored, of either kind: a teacher's folder or hub id, or a packed artifact."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from compress.data.text_format import TextFormat
from compress.model.packed_student import load_student
from compress.model.teacher import load_teacher
from compress.model.token_format import LanguagePair
from compress.scoring.asked import ScoredModelError, check_asked
from quant.artifact import is_artifact
from quant.card import Task


def load_scored(
    name: str,
    task: Task | None,
    languages: LanguagePair,
    source_template: str | None = None,
    max_source_tokens: int | None = None,
    allow_pickle: bool = False,
    passage_separator: str | None = None,
    max_target_tokens: int | None = None,
) -> tuple[PreTrainedModel, TextFormat]:
    """Load the model. An artifact knows its task and text format; a teacher is told. Raises ScoredModelError."""
    if is_artifact(Path(name)):
        model, text_format, artifact = load_student(Path(name))
        check_asked(name, artifact.card, task, languages)
        return model, text_format
    if task is None:
        raise ScoredModelError(f"{name} is no packed artifact, so --task is needed")
    teacher = load_teacher(
        name,
        task,
        languages,
        False,
        source_template,
        max_source_tokens,
        allow_pickle,
        passage_separator,
        max_target_tokens,
    )
    return teacher.model, teacher.text_format
