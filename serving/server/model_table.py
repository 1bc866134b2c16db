"""Which models a deployment serves: plain data, as it stands in a deployment's `user_config`.

Ray hands a changed `user_config` to the running replicas, so this is what can change without a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from quant.card import Task
from serving.service.models import CheckedModel


class ModelTable(BaseModel):
    """Models by name, and which of them answer requests that name none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: dict[str, Path] = Field(min_length=1)
    """Name → folder of the artifact, as the replicas see it."""
    defaults: dict[Task, str] = {}
    """Task → name; a task that is left out has the first model that does it."""
    contents: dict[str, str] = {}
    """Name → what `fingerprint` said. Replicas look at the folders themselves, and only when this table has changed: another
    value here, of any kind, makes them look."""

    @classmethod
    def of(cls, models: Sequence[CheckedModel], defaults: Mapping[Task, str]) -> ModelTable:
        """The table of models that were checked, with the contents of their folders as they are now."""
        return cls(
            models={model.name: model.folder for model in models},
            defaults=dict(defaults),
            contents={model.name: fingerprint(model.folder) for model in models},
        )


def fingerprint(folder: Path) -> str:
    """Changes when a file in the folder is written, added or removed. Sizes and times, so that it costs nothing."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return " ".join(f"{path.name}:{stat.st_size}:{stat.st_mtime_ns}" for path in files for stat in [path.stat()])
