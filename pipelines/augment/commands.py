"""Flags of `dqbart augment`, each declared once with its default and meaning.

This module imports nothing heavy, so that `--help` is quick; the work is imported when the command runs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field

from compress.commands import early
from compress.commands.flags import ColumnFlags, Count, Share
from quant.card import Task

_OF_ONE_TASK: dict[str, tuple[Task, ...]] = {
    "shuffle": ("question-answering",),
    "crop": ("question-answering",),
    "crop_words": ("question-answering",),
    "questions": ("question-answering",),
    "question_sentences": ("question-answering",),
    "fragment_words": ("question-answering",),
    "gap_sentences": ("summarization",),
    "prefix": ("summarization",),
    "prefix_share": ("summarization",),
    "made_up": ("question-answering", "summarization"),
    "made_up_words": ("question-answering", "summarization"),
    "kept_words": ("question-answering", "summarization"),
    "source_language": ("translation",),
    "target_language": ("translation",),
    "rename": ("translation",),
    "renumber": ("translation",),
    "unended": ("translation",),
    "joined": ("translation",),
    "joined_words": ("translation",),
    "composed": ("translation",),
}
"""Flags that not every task has, and which do."""


class Augment(ColumnFlags):
    """Make more training data of the data there is, by rules and without a model; the same again by the same seed."""

    task: Task = Field(description="decides column names, and what is made")
    source: list[str] = Field(
        min_length=1, description="data: .jsonl, .csv or .parquet files, or hub ids NAME[:CONFIG][@SPLIT]"
    )
    output: Path = Field(description="JSON-lines file that is written, with the task's own column names")
    seed: int = Field(0, description="seed of all that is drawn")
    limit: Count | None = Field(None, description="rows used of each source, from its start (default: all)")
    copies: Count = Field(1, description="rows made of each row, each altered by draws of its own")
    shuffle: Share = Field(0.0, description="questions: share of rows whose context has its sentences in another order")
    crop: Share = Field(
        0.0, description="questions: share of rows whose context is cut to what is around the answer, if that is a phrase"
    )
    crop_words: list[Count] = Field(
        [40, 160], description="questions: least and most words that such a context has", min_length=2, max_length=2
    )
    questions: Count | None = Field(
        None, description="make so many questions of the data's texts, of any column, in place of copies of its rows"
    )
    question_sentences: list[Count] = Field(
        [2, 6], description="least and most sentences of the passages of these", min_length=2, max_length=2
    )
    fragment_words: list[Count] | None = Field(
        None,
        description="passages of pieces of sentences, of least and most so many words, of different texts: to learn copying",
        min_length=2,
        max_length=2,
    )
    gap_sentences: bool = Field(
        False, description="summaries: in place of the target, the sentence that says most of the rest and of the target"
    )
    prefix: str | None = Field(None, description="summaries: what stands before a share of the sources, as 'title: '")
    prefix_share: Share = Field(0.5, description="that share")
    made_up: Share = Field(0.0, description="share of rows that have words made up, the same ones in all their texts")
    made_up_words: Share = Field(0.6, description="share of the words of such a row that are")
    kept_words: Annotated[int, Field(ge=0)] = Field(1000, description="most frequent words, which never are")
    source_language: str = Field("de_DE", description="translations: language of the sources, German or English")
    target_language: str = Field("en_XX", description="translations: language of the targets, the other one")
    rename: Share = Field(
        0.0, description="translations: share of pairs with other names of people and places, if they have any"
    )
    renumber: Share = Field(0.0, description="translations: share of pairs with other numbers, if they have any")
    unended: Share = Field(0.0, description="translations: share of pairs that lose the full stop at their end")
    joined: Annotated[int, Field(ge=0)] = Field(
        0, description="translations: longer texts made beside the copies, each joined from one to four pairs"
    )
    joined_words: Count = Field(48, description="translations: most words of these, on either side")
    composed: Annotated[int, Field(ge=0)] = Field(
        0, description="translations: everyday sentences made beside the copies, by a grammar of both languages"
    )

    def faults(self) -> list[str]:
        """What can be told before the work."""
        names = sorted(self.model_fields_set & _OF_ONE_TASK.keys())
        return [
            *(
                f"--{name.replace('_', '-')} is of {' and '.join(_OF_ONE_TASK[name])}: --task is {self.task}"
                for name in names
                if self.task not in _OF_ONE_TASK[name]
            ),
            *(
                f"--{name} = {low},{high}: the least first, then the most"
                for name, (low, high) in (
                    ("crop-words", self.crop_words),
                    ("question-sentences", self.question_sentences),
                    ("fragment-words", self.fragment_words or (1, 1)),
                )
                if low > high
            ),
            *(
                f"--{name.replace('_', '-')} is of made questions: give --questions too"
                for name in ("question_sentences", "fragment_words")
                if name in names and self.questions is None
            ),
            *self._language_faults(),
            *early.data_faults(self.source, self._columns_of_task(), self.fields()),
        ]

    def source_is_english(self) -> bool:
        """Whether pairs are from English to German."""
        return _language(self.source_language) == "en"

    def _language_faults(self) -> list[str]:
        if {_language(self.source_language), _language(self.target_language)} == {"de", "en"}:
            return []
        return [
            f"--source-language {self.source_language}, --target-language {self.target_language}: "
            "German and English are known, as de and en or de_DE and en_XX, one of them the source"
        ]

    def _columns_of_task(self) -> Task | None:
        """The task whose columns the data must have; None where one of any name will do."""
        return None if self.questions else self.task

    def cli_cmd(self) -> None:
        early.stop_at("augment", self.faults())
        from pipelines.augment.run_augment import run_augment

        sys.exit(run_augment(self))


def _language(code: str) -> str:
    return re.split("[-_]", code)[0].lower()
