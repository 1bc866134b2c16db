"""What is known of a run before its first step: the part of the manifest about flags, versions, teacher and data.

Paths are recorded by their last part only, as folders are a machine's own affair.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel

from compress.data.encoded import Encoded
from compress.data.text_format import Example
from compress.model.teacher import Teacher
from compress.scoring.evaluation import data_digest

_PACKAGES = ("dqbart", "torch", "transformers")


def origin(
    command: str,
    flags: Mapping[str, Any],
    seed: int,
    device: torch.device,
    teacher: Teacher,
    train: Sequence[Example] | Sequence[Encoded],
    valid: Sequence[Example] | Sequence[Encoded],
) -> dict[str, Any]:
    """What is known of a run before its first step."""
    return {
        "command": command,
        "flags": dict(flags),
        "seed": seed,
        "versions": _versions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "teacher": {"name": teacher.text_format.card.teacher, "digest": teacher.digest},
        "train": _data(train),
        "valid": _data(valid),
    }


def recorded_flags(settings: BaseModel) -> dict[str, Any]:
    """Every flag that has a value, as JSON; files and folders by their names only."""
    return {name: _recorded(value) for name, value in settings.model_dump(exclude_none=True).items()}


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # a checkout that is not installed
            versions[package] = "unknown"
    return {**versions, "python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}


def _data(examples: Sequence[Example] | Sequence[Encoded]) -> dict[str, Any]:
    return {"examples": len(examples), "digest": _digest(examples)}


def _digest(examples: Sequence[Example] | Sequence[Encoded]) -> str:
    if examples and isinstance(examples[0], Example):
        return data_digest(cast(Sequence[Example], examples))
    digest = hashlib.sha256()
    for example in cast(Sequence[Encoded], examples):
        digest.update(json.dumps([example.source_ids, example.label_ids]).encode())
    return f"sha256:{digest.hexdigest()}"


def _recorded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_recorded(entry) for entry in value]
    if isinstance(value, Path) or (isinstance(value, str) and os.path.exists(value)):
        return Path(value).resolve().name
    return value
