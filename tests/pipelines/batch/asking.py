"""Inputs of tests, and a worker's job for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.batch.columns import Columns
from pipelines.batch.files import columns, open_file, scan
from pipelines.batch.folder import Folder
from pipelines.batch.parts import parts_of
from pipelines.batch.worker import Job
from pipelines.batch.writing import schema_of

TRANSLATED = Columns("text", None, None, None, ("de", "en"))


def job_for(model: Path, task: Any, source: Path, output: Path, asked: Columns, **other: Any) -> Job:
    """Of one file; `rows_each` and `ending` are a part's."""
    file = open_file(source, None)
    output_format = other.pop("output_format", "jsonl")
    folder = Folder(output, f".{output_format}")
    folder.begin({})
    assert set(asked.needed) <= set(columns(file))
    given: dict[str, Any] = {
        "model": model,
        "task": task,
        "files": (file,),
        "parts": tuple(parts_of([scan(file)], other.pop("rows_each", 100))),
        "folder": folder,
        "output_format": output_format,
        "columns": asked,
        "schema": None if output_format == "jsonl" else schema_of([file]),
        "prefix": "",
        "parameters": {"num_beams": 1, "max_new_tokens": 6},
        "truncation": "error",
        "threads": 1,
        "batch_rows": 8,
        "runner": "cpu",
    }
    return Job(**{**given, **other})
