"""Scores added to an evaluation.json, and shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quant.evaluation_file import read_evaluations


def keep_evaluation(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record to a JSON file, in place of an older one of the same model, data, references, direction and decoding.

    Raises EvaluationFileError for a file that holds something else.
    """

    def identity(entry: Mapping[str, Any]) -> tuple[str, ...]:
        keys = ("model", "data", "source_language", "target_language", "decoding", "references")
        return tuple(json.dumps(entry.get(key), sort_keys=True) for key in keys)

    kept = [entry for entry in read_evaluations(path) if identity(entry) != identity(record)] + [dict(record)]
    path.write_text(json.dumps({"evaluations": kept}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def direction(record: Mapping[str, Any]) -> str:
    """`de_DE → en_XX`, or nothing for models of one language."""
    return f"{record['source_language']} → {record['target_language']}" if record.get("target_language") else ""
