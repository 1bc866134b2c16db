"""Artifacts' folders as settings name them: FOLDER, or NAME=FOLDER."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a model may be called: it is a metrics label and part of what people type."""


def folder_list(value: object) -> object:
    """Flags and the environment bring one text: a JSON list, or names separated by commas. Raises ValueError."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"no valid JSON list: {error}") from error
    return [each.strip() for each in value.split(",") if each.strip()]


def check_folders(models: Sequence[str]) -> None:
    """Raises ValueError for what is no artifact's folder, and for names that cannot be or are given twice."""
    named = [named_folder(each) for each in models]
    for name, folder in named:
        if NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no model name; letters, digits, '.', '_' and '-' are accepted: NAME=FOLDER")
        if not folder.exists():
            raise ValueError(f"{folder} does not exist: an artifact's folder is expected")
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} is no artifact: it has no config.json")
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        raise ValueError(f"the name {twice[0]} is given twice; tell them apart with NAME=FOLDER")


def named_folder(model: str) -> tuple[str, Path]:
    """`NAME=FOLDER`, or a folder whose own name is the model's."""
    name, separator, folder = model.partition("=")
    path = Path(folder if separator else model).expanduser()
    return (name if separator else path.resolve().name), path
