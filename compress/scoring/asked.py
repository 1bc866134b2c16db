"""Whether a packed model can be scored as asked: by its task, in a direction that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.errors import CompressError
from quant.card import Card, Task

if TYPE_CHECKING:
    from compress.model.token_format import LanguagePair


class ScoredModelError(CompressError):
    """A model that cannot be scored as asked."""


def check_asked(name: str, card: Card, task: Task | None, languages: LanguagePair) -> None:
    """Raises ScoredModelError."""
    if task not in (None, card.task):
        raise ScoredModelError(f"--task is {task}, but {name} was made for {card.task}")
    spoken_languages(name, card, languages)


def spoken_languages(name: str, card: Card, languages: LanguagePair) -> LanguagePair:
    """Those asked for, or the only direction that there is where none is asked for. Raises ScoredModelError."""
    if not languages and len(card.language_pairs) < 2:
        return card.language_pairs[0] if card.language_pairs else ()
    if languages and card.speaks(*languages):
        return languages
    given = " to ".join(code or "none" for code in languages) if languages else "none of them"
    if not card.language_pairs:
        raise ScoredModelError(f"{name} has no languages to choose from, and {given} is given")
    accepted = [f"--source-language {source} --target-language {target}" for source, target in card.language_pairs]
    raise ScoredModelError(f"{name} takes {' or '.join(accepted)}; {given} is given")
