"""evaluation.json: the scores that are kept with an artifact. Read without any model, by what compresses and what serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quant.strange_files import MissingFileError, StrangeFileError, read_json

EVALUATION_FILE = "evaluation.json"


class EvaluationFileError(ValueError):
    """A file that holds something else than evaluations."""


def read_evaluations(path: Path) -> list[dict[str, Any]]:
    """The records in a file; none where there is no file. Raises EvaluationFileError."""
    try:
        records: list[dict[str, Any]] = read_json(path)["evaluations"]
    except MissingFileError:
        return []
    except StrangeFileError as error:
        raise EvaluationFileError(str(error)) from error
    except (KeyError, TypeError) as error:
        raise EvaluationFileError(f"{path} is no file of evaluations: {error!r}") from error
    return records
