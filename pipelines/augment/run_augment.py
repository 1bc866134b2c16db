"""Runs `dqbart augment`: rows are read, others made of them, and written as JSON lines that `--train` takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping

from compress.expected_errors import EXPECTED_ERRORS
from pipelines.augment.answers import answers
from pipelines.augment.commands import Augment
from pipelines.augment.summaries import summaries
from pipelines.augment.translations import translations
from quant.card import Task
from quant.whole_files import whole_files

_MAKERS: dict[Task, Callable[[Augment], Iterator[Mapping[str, str]]]] = {
    "question-answering": answers,
    "summarization": summaries,
    "translation": translations,
}


def run_augment(settings: Augment) -> int:
    """Returns the exit code: 0 done, 1 failed."""
    count = 0
    try:
        with (
            whole_files(settings.output.parent) as folder,
            (folder / settings.output.name).open("w", encoding="utf-8") as file,
        ):
            for row in _MAKERS[settings.task](settings):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
    except EXPECTED_ERRORS as error:
        print(f"dqbart augment: error: {error}", file=sys.stderr)
        return 1
    print(f"{settings.output}: {count:,} rows")
    return 0
