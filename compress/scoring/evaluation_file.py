"""evaluation.json: the scores that are kept with an artifact. Read without any model, so that `dqbart inspect` is light."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.errors import CompressError

EVALUATION_FILE = "evaluation.json"


class EvaluationFileError(CompressError):
    """A file that holds something else than evaluations."""


def read_evaluations(path: Path) -> list[dict[str, Any]]:
    """The records in a file; none where there is no file. Raises EvaluationFileError."""
    try:
        records: list[dict[str, Any]] = json.loads(path.read_text())["evaluations"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationFileError(f"{path} is no file of evaluations: {error!r}") from error
    return records


def keep_evaluation(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record to a JSON file, in place of an older one of the same model, data, references, direction and decoding."""

    def identity(entry: Mapping[str, Any]) -> tuple[str, ...]:
        keys = ("model", "data", "source_language", "target_language", "decoding", "references")
        return tuple(json.dumps(entry.get(key), sort_keys=True) for key in keys)

    kept = [entry for entry in read_evaluations(path) if identity(entry) != identity(record)] + [dict(record)]
    path.write_text(json.dumps({"evaluations": kept}, indent=2, ensure_ascii=False) + "\n")


def direction(record: Mapping[str, Any]) -> str:
    """`de_DE → en_XX`, or nothing for models of one language."""
    return f"{record['source_language']} → {record['target_language']}" if record.get("target_language") else ""
