"""evaluation.json: the scores that are kept with an artifact. Read without any model, so that `dqbart inspect` is light."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EVALUATION_FILE = "evaluation.json"


def read_evaluations(folder: Path) -> list[dict[str, Any]]:
    """Evaluations kept in an artifact; none where there is no readable file."""
    try:
        records: list[dict[str, Any]] = json.loads((folder / EVALUATION_FILE).read_text())["evaluations"]
    except (OSError, ValueError, KeyError):
        return []
    return records


def keep_evaluation(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record to a JSON file, in place of an older one of the same model, data, direction and decoding."""

    def identity(entry: Mapping[str, Any]) -> tuple[str, ...]:
        keys = ("model", "data", "source_language", "target_language", "decoding")
        return tuple(json.dumps(entry.get(key), sort_keys=True) for key in keys)

    try:
        kept = json.loads(path.read_text())["evaluations"]
    except FileNotFoundError:
        kept = []
    kept = [entry for entry in kept if identity(entry) != identity(record)] + [dict(record)]
    path.write_text(json.dumps({"evaluations": kept}, indent=2, ensure_ascii=False) + "\n")


def direction(record: Mapping[str, Any]) -> str:
    """`de_DE → en_XX`, or nothing for models of one language."""
    return f"{record['source_language']} → {record['target_language']}" if record.get("target_language") else ""
