"""What is read, and the draws of each row.

Each row has a random generator of its own, seeded by the seed, its place and the copy: what is made of it does not depend on
how many other rows there are, nor on what is made of them.
"""

from __future__ import annotations

from random import Random

from compress.data.dataset import Languages, load_examples
from compress.data.tables import load_table
from compress.data.text_format import Example
from compress.errors import DatasetError
from pipelines.augment.commands import Augment

_TEXTS = ("context", "source", "article", "document", "text")
"""Columns of texts, tried in turn where no flag names one."""


def examples_of(settings: Augment) -> list[Example]:
    """Those of all sources, in their order. Raises DatasetError."""
    return [
        example
        for name in settings.source
        for example in load_examples(name, "train", settings.task, settings.fields(), Languages(), settings.limit)
    ]


def texts_of_any_column(settings: Augment) -> list[str]:
    """The longest texts of each row of all sources, each once. Raises DatasetError."""
    found: dict[str, None] = {}
    for name in settings.source:
        table = load_table(name, "train", settings.fields().reading)
        named = settings.context_field or settings.source_field
        column = next((each for each in ((named,) if named else _TEXTS) if each in table.columns), None)
        if column is None:
            there = ", ".join(table.columns) or "none at all"
            wanted = named or f"{', '.join(_TEXTS)}"
            raise DatasetError(f"{name} has no column {wanted}: it has {there}; --context-field names another")
        for row in table.rows(settings.limit):
            cell = row[column]
            found.setdefault(" ".join(cell) if isinstance(cell, list) else str(cell or ""))
    found.pop("", None)
    return list(found)


def draws(settings: Augment, *place: int | str) -> Random:
    """The generator of one row."""
    return Random("/".join(map(str, (settings.seed, *place))))
