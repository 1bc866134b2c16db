"""What lies in a folder from an earlier run: whether it is to be continued, and what is asked otherwise now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.errors import CompressError
from quant.whole_files import latest

CALIBRATION = Path("training") / "calibration"
"""In the folder of a run: what it has calibrated so far."""
PLAN_FILE = "plan.json"
"""In there: the settings of the run."""


class ResumeError(CompressError):
    """A state that is missing, damaged, or of other settings."""


def refuse_earlier_run(output: Path) -> None:
    """Raises ResumeError where the folder holds the state of a run."""
    if begun(output):
        raise ResumeError(f"{output} holds an earlier run: --resume continues it, another --output starts anew")


def begun(output: Path) -> bool:
    """Whether there is something that --resume continues: steps, or a calibration before the first."""
    return latest(output / "training" / "last").exists() or (output / CALIBRATION / PLAN_FILE).exists()


def calibration_plan(output: Path) -> dict[str, Any] | None:
    """The settings of the run that a calibration in the folder is of. Raises ResumeError."""
    path = output / CALIBRATION / PLAN_FILE
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ResumeError(f"{path} cannot be read: {error}; another --output starts anew") from error


def changes(saved: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Each entry that differs, however deep it lies, as `training.learning_rate was 0.001, is 0.002`."""
    found = []
    for key in dict.fromkeys([*saved, *wanted]):
        before, now = saved.get(key), wanted.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += changes(before, now, f"{prefix}{key}.")
        elif before != now:
            found.append(f"{prefix}{key} was {before}, is {now}")
    return found
