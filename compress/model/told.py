"""What is said of a model beside its name, and whether it can be said of a packed one.

A checkpoint has to be told how it is used. An artifact says it in its card, which is taken over: what it is told may repeat
the card, choose among its directions, and contradict nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from compress.errors import CompressError
from quant.card import Card, Task

if TYPE_CHECKING:
    from compress.model.token_format import LanguagePair


class ToldError(CompressError):
    """Something that is not said and must be, or that an artifact's card contradicts."""


@dataclass(frozen=True)
class Told:
    """What flags say; None and empty where they say nothing."""

    task: Task | None = None
    """An artifact knows its own."""
    languages: LanguagePair = ()
    """Codes of source and target."""
    both_directions: bool = False
    source_template: str | None = None
    passage_separator: str | None = None
    max_source_tokens: int | None = None
    max_target_tokens: int | None = None
    """The longest output of a checkpoint that says no length itself."""
    allow_pickle: bool = False

    def completed(self, card: Card) -> Told:
        """What is not said as a card says it; of its languages only those that leave no choice."""
        languages = self.languages
        if not languages and len(card.language_pairs) == 1:
            (languages,) = card.language_pairs
        return replace(
            self,
            task=self.task or card.task,
            languages=languages,
            source_template=self.source_template or card.source_template,
            passage_separator=card.passage_separator if self.passage_separator is None else self.passage_separator,
            max_source_tokens=self.max_source_tokens or card.max_source_tokens,
        )


def taken_over(name: str, card: Card, told: Told) -> Card:
    """The card of an artifact, with those of its directions that are asked for. Raises ToldError."""
    faults = [
        f"--{flag.replace('_', '-')} is {said!r}, but {name} was made with {getattr(card, flag)!r}"
        for flag in ("source_template", "passage_separator", "max_source_tokens")
        if (said := getattr(told, flag)) is not None and said != getattr(card, flag)
    ]
    if told.task not in (None, card.task):
        faults.insert(0, f"--task is {told.task}, but {name} was made for {card.task}")
    if faults:
        raise ToldError("; ".join(faults))
    languages = spoken_languages(name, card, told.languages)
    if told.both_directions:
        if not card.language_pairs:
            raise ToldError(f"--both-directions is for translations, but {name} was made for {card.task} in one language")
        spoken_languages(name, card, languages[::-1])
    if not languages or not card.language_pairs:
        return card
    source, target = languages
    directions = (f"{source}>{target}", f"{target}>{source}")
    return replace(card, directions=directions if told.both_directions else directions[:1])


def spoken_languages(name: str, card: Card, languages: LanguagePair) -> LanguagePair:
    """Those asked for, or the only direction that there is where none is asked for. Raises ToldError."""
    if not languages and len(card.language_pairs) < 2:
        return card.language_pairs[0] if card.language_pairs else ()
    if languages and card.speaks(*languages):
        return languages
    given = " to ".join(code or "none" for code in languages) if languages else "none of them"
    if not card.language_pairs:
        raise ToldError(f"{name} has no languages to choose from, and {given} is given")
    accepted = [f"--source-language {source} --target-language {target}" for source, target in card.language_pairs]
    raise ToldError(f"{name} takes {' or '.join(accepted)}; {given} is given")
