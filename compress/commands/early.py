"""What can be told of a command's settings before torch and transformers are imported, which takes seconds.

Files, columns, languages, texts that go around sources. What only the work finds out it tells, and hub ids are left to it.
Each function gives faults as lines, none where all is well.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.dataset import Fields, columns_of
from compress.data.tables import is_local, load_table
from compress.data.texts import check_texts
from compress.errors import CompressError
from compress.model.told import Told, taken_over
from compress.training.earlier_run import refuse_earlier_run
from quant.card import Card, CardError, Task, separator_faults, template_faults
from quant.strange_files import MissingFileError, StrangeFileError, read_json

if TYPE_CHECKING:
    from compress.model.token_format import LanguagePair

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


def artifact_faults(folder: Path) -> list[str]:
    """Of what is to be an artifact."""
    if not folder.is_dir():
        return [f"{folder} is no folder: an artifact's folder is expected"]
    if not (folder / "config.json").is_file():
        return [f"{folder} is no artifact: it has no config.json"]
    if _is_checkpoint(folder):
        return [
            f"{folder} is no artifact: its config.json has no quantization_config of quant_method dqbart. If it is a "
            "checkpoint, `dqbart compress` makes an artifact of it, and `dqbart evaluate` scores it as it is"
        ]
    return []


def new_folder_faults(output: Path) -> list[str]:
    """Of a folder that is to be written whole."""
    if output.exists() and not output.is_dir():
        return [f"output {output} is a file: name a new or an empty folder"]
    if output.is_dir() and any(output.iterdir()):
        return [f"output {output} is not empty: name a new or an empty folder"]
    return []


def card_of(name: str) -> Card | None:
    """That of an artifact; None for other models, and for a damaged one, of which the work tells."""
    try:
        return Card.from_dict(_config(Path(name)).get("dqbart", {}))
    except (MissingFileError, StrangeFileError, CardError, OSError):
        return None


def task_of(name: str, task: Task | None) -> Task | None:
    """The task that is said, or an artifact's own."""
    card = None if task else card_of(name)
    return card.task if card else task


def task_faults(name: str, task: Task | None) -> list[str]:
    """Of a model that may know its task."""
    return [] if task_of(name, task) else [f"{name} is no packed artifact, so --task is needed"]


def told_faults(name: str, told: Told) -> list[str]:
    """Of a model and what is said of it: an artifact, whose card may contradict it, or any other one with a task."""
    if faults := model_faults(name):
        return faults
    if (card := card_of(name)) is None:
        return task_faults(name, told.task)
    return _told(partial(taken_over, name, card, told))


def direction_faults(both: bool, languages: LanguagePair) -> list[str]:
    return (
        ["--both-directions needs --source-language and --target-language"]
        if both and not (languages and all(languages))
        else []
    )


def source_faults(task: Task | None, template: str | None, separator: str | None) -> list[str]:
    """Of the template and the separator of passages, where they are given."""
    if task is None:
        return []
    faults = [] if template is None else template_faults(task, template)
    return faults + ([] if separator is None else separator_faults(task, separator))


def output_faults(output: Path, resume: bool) -> list[str]:
    """Of the folder of a run."""
    if output.is_file():
        return [f"output {output} is a file: a folder is expected"]
    if resume:
        return [] if (output / "training").is_dir() else [f"nothing to resume: {output / 'training'} does not exist"]
    return _told(partial(refuse_earlier_run, output))


def data_faults(names: Sequence[str], task: Task | None, fields: Fields, labels: bool = True) -> list[str]:
    """Of local files: whether they are there, can be read, and have the columns of the task, where that is known.

    Without `labels` targets may be missing.
    """

    def check(name: str) -> None:
        columns = load_table(name, "train", fields.reading).columns
        if task is not None:
            columns_of(name, task, fields, columns, labels)

    return [fault for name in names if is_local(name) for fault in _told(partial(check, name))]


def text_faults(names: Sequence[str], fields: Fields) -> list[str]:
    """Of texts for denoising."""
    return [fault for name in names for fault in _told(partial(check_texts, name, fields.source, fields.reading))]


def _is_checkpoint(folder: Path) -> bool:
    """Whether its config.json can be read, and does not say that it is one of ours."""
    try:
        quantization = _config(folder).get("quantization_config")
    except (MissingFileError, StrangeFileError, OSError):
        return False
    return not (isinstance(quantization, dict) and quantization.get("quant_method") == "dqbart")


def _config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    return config if isinstance(config, dict) else {}


def _told(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except (CompressError, OSError) as error:
        return [str(error)]
    return []
