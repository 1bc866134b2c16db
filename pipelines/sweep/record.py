"""run.json: what was asked of a run, how far it has come, and what came of it.

    OUTPUT/runs/NAME/run.json   this record
    OUTPUT/runs/NAME/*.log      each command, and what it printed
    OUTPUT/runs/NAME/model/     the artifact, or a plain checkpoint where nothing was quantized

A run whose record holds a result is not run again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from compress.errors import CompressError
from compress.training.earlier_run import changes
from quant.whole_files import whole_files

RECORD_FILE = "run.json"
MODEL_FOLDER = "model"


class SweepError(CompressError):
    """A sweep that cannot be run as asked."""


@dataclass
class Record:
    """Filled as the run goes; on disk after each change."""

    asked: dict[str, Any]
    """Everything that decides the result; a folder with another one is refused."""
    trained: bool = False
    seconds: float = 0.0
    """Of `dqbart compress`, over all its interruptions."""
    error: str | None = None
    """Why the last attempt failed."""
    result: dict[str, Any] | None = None
    """Sizes, steps and scores, once all of it is done."""
    _folder: Path = field(default=Path(), repr=False)

    @classmethod
    def open(cls, folder: Path, asked: Mapping[str, Any]) -> Record:
        """The record in a folder, or a new one. Raises SweepError where it is damaged or of other settings."""
        wanted = json.loads(json.dumps(asked))
        path = folder / RECORD_FILE
        if not path.exists():
            return cls(wanted, _folder=folder)
        try:
            entries = json.loads(path.read_text())
            record = cls(**{each.name: entries[each.name] for each in fields(cls) if each.init and each.name[0] != "_"})
        except (ValueError, KeyError, TypeError) as error:
            raise SweepError(f"{path} is no record of a run: {error!r}") from error
        if record.asked != wanted:
            raise SweepError(f"{folder} is of a run with other settings: {'; '.join(changes(record.asked, wanted))}")
        record._folder = folder
        return record

    def save(self) -> None:
        entries = {key: value for key, value in asdict(self).items() if not key.startswith("_")}
        self._folder.mkdir(parents=True, exist_ok=True)
        with whole_files(self._folder) as partial:
            (partial / RECORD_FILE).write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")
