"""A model to be scored, of either kind: a teacher's folder or hub id, or a packed artifact."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from compress.data.text_format import TextFormat
from compress.errors import CompressError
from compress.model.packed_student import load_student
from compress.model.teacher import load_teacher
from compress.model.token_format import LanguagePair
from quant.artifact import is_artifact
from quant.card import Card, Task


class ScoredModelError(CompressError):
    """A model that cannot be scored as asked."""


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
        if task not in (None, artifact.card.task):
            raise ScoredModelError(f"--task is {task}, but {name} was made for {artifact.card.task}")
        spoken_languages(name, artifact.card, languages)
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


def spoken_languages(name: str, card: Card, languages: LanguagePair) -> LanguagePair:
    """Those asked for, or the only direction that there is where none is asked for. Raises ScoredModelError."""
    if not languages:
        if len(card.language_pairs) > 1:
            known = ", ".join(card.directions)
            raise ScoredModelError(f"{name} has {known}: --source-language and --target-language say which of them")
        return card.language_pairs[0] if card.directions else ()
    if not card.speaks(*languages):
        known = ", ".join(card.directions) or "no languages to choose from"
        raise ScoredModelError(f"{name} has {known}, not {' to '.join(filter(None, languages))}")
    return languages
