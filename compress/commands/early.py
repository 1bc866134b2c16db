"""What can be told of a command's settings before torch and transformers are imported, which takes seconds.

Files, columns, languages, texts that go around sources. What only the work finds out it tells, and hub ids are left to it.
Each function gives faults as lines, none where all is well.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from compress.data.dataset import Fields, columns_of
from compress.data.tables import is_local, load_table
from compress.data.texts import check_texts
from compress.errors import CompressError
from compress.scoring.asked import asked_fault
from compress.training.earlier_run import refuse_earlier_run
from quant.card import Card, CardError, Task, separator_faults, template_faults
from quant.strange_files import MissingFileError, StrangeFileError, read_json

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def stop_at(command: str, faults: Sequence[str]) -> None:
    """Each in a line, and exit code 1; nothing where there is none."""
    if faults:
        print("\n".join(f"dqbart {command}: error: {fault}" for fault in dict.fromkeys(faults)), file=sys.stderr)
        sys.exit(1)


def model_faults(name: str) -> list[str]:
    """Of what is to be a model: a folder, or an id of the hub."""
    path = Path(name)
    if path.is_dir():
        if (path / "config.json").is_file():
            return []
        return [f"{name} is no model: the folder has no config.json"]
    if path.exists():
        return [f"{name} is a file: the folder of a model is expected"]
    if path.is_absolute() or not _HUB_ID.fullmatch(name):
        return [f"{name} does not exist, and is no hub id, which is NAME or OWNER/NAME"]
    return []


def card_of(name: str) -> Card | None:
    """That of an artifact; None for other models, and for a damaged one, of which the work tells."""
    try:
        config = read_json(Path(name) / "config.json")
        return Card.from_dict(config["dqbart"]) if isinstance(config, dict) and "dqbart" in config else None
    except (MissingFileError, StrangeFileError, CardError, OSError):
        return None


def scored_faults(name: str, task: Task | None, languages: tuple[str, ...]) -> list[str]:
    """Of a model that is to be scored: an artifact, or any other one with a task."""
    if faults := model_faults(name):
        return faults
    if (card := card_of(name)) is not None:
        fault = asked_fault(name, card, task, languages)
        return [fault] if fault else []
    return [] if task else [f"{name} is no packed artifact, so --task is needed"]


def direction_faults(both: bool, languages: tuple[str, ...]) -> list[str]:
    return ["--both-directions needs --source-language and --target-language"] if both and len(languages) != 2 else []


def source_faults(task: Task, template: str | None, separator: str | None) -> list[str]:
    """Of the template and the separator of passages, where they are given."""
    faults = [] if template is None else template_faults(task, template)
    return faults + ([] if separator is None else separator_faults(task, separator))


def output_faults(output: Path, resume: bool) -> list[str]:
    """Of the folder of a run."""
    if output.is_file():
        return [f"output {output} is a file: a folder is expected"]
    if resume:
        return [] if (output / "training").is_dir() else [f"nothing to resume: {output / 'training'} does not exist"]
    try:
        refuse_earlier_run(output)
    except CompressError as error:
        return [str(error)]
    return []


def data_faults(names: Sequence[str], task: Task | None, fields: Fields) -> list[str]:
    """Of local files: whether they are there, can be read, and have the columns of the task, where that is known."""
    faults = []
    for name in filter(is_local, names):
        try:
            columns = load_table(name, "train", fields.reading).columns
            if task is not None:
                columns_of(name, task, fields, columns)
        except (CompressError, OSError) as error:
            faults.append(str(error))
    return faults


def text_faults(names: Sequence[str], fields: Fields) -> list[str]:
    """Of texts for denoising."""
    faults = []
    for name in names:
        try:
            check_texts(name, fields.source, fields.reading)
        except (CompressError, OSError) as error:
            faults.append(str(error))
    return faults
