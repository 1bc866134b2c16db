"""What lies in a folder from an earlier run: whether it is to be continued, and what is asked otherwise now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.errors import CompressError


class ResumeError(CompressError):
    """A state that is missing, damaged, or of other settings."""


def refuse_earlier_run(output: Path) -> None:
    """Raises ResumeError where the folder holds the state of a run."""
    if (output / "training" / "last").exists():
        raise ResumeError(f"{output} holds an earlier run: --resume continues it, another --output starts anew")


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
