"""What is to be labelled: rows of a data set, and how an answer becomes a row of the output.

An output row is a row of training data: the columns of the input, with the teacher's output in place of the target. Of a
translation it names its languages, so that `compress --both-directions` takes it in its own direction only: turned round, it
would teach a target that no teacher wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compress.data.dataset import Fields, Languages, columns_of, texts_of
from compress.data.tables import load_table
from compress.data.text_format import Example
from compress.errors import DatasetError
from quant.card import Task, Texts, passages

ORIGINAL_TARGET = "original_target"
SCORE = "score"


@dataclass(frozen=True)
class Item:
    """One source, and the output row without its label."""

    example: Example
    row: Mapping[str, Any]
    target_column: str

    def labelled(self, text: str, score: float | None) -> str:
        """The output row, as a line of JSON without its end."""
        row = {**self.row, self.target_column: text, ORIGINAL_TARGET: self.example.target}
        if score is not None:
            row[SCORE] = round(score, 4)
        return json.dumps(row, ensure_ascii=False, default=str)


def load_items(name: str, task: Task, fields: Fields, languages: Languages, limit: int | None) -> tuple[list[Item], int]:
    """Items in the order of the data, of both directions one after the other, and how many rows had an empty text.

    Raises DatasetError.
    """
    table = load_table(name, "train", fields.reading)
    sources, target = columns_of(name, task, fields, table.columns)
    items: list[Item] = []
    count = empty = 0
    for row in table.rows(limit):
        count += 1
        texts, answer = texts_of(name, row, sources, target, languages)
        if not answer or not all(texts.values()):
            empty += 1
            continue
        columns = dict(row)
        source_column, target_column = next(iter(sources.values())), target
        if target == "translation":  # a dictionary of both languages, which the output has as two columns
            del columns["translation"]
            source_column, target_column = "source", "target"
        pairs: list[tuple[Texts, str, str | None, str | None]] = [(texts, answer, languages.source, languages.target)]
        if languages.both:
            (source,) = passages(texts["source"])
            pairs.append(({"source": answer}, source, languages.target, languages.source))
        for given, original, source_language, target_language in pairs:
            kept = dict(columns)
            if task == "translation":
                kept[source_column] = given["source"]
            if target_language is not None:
                kept |= {"source_language": source_language, "target_language": target_language}
            items.append(Item(Example(given, original, source_language, target_language), kept, target_column))
    if not items:
        raise DatasetError(f"{name} has no row with a source and a target (of {count:,})")
    return items, empty
