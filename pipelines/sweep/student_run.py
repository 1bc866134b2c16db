"""One run, from settings to scores: `dqbart compress`, then `dqbart evaluate` in each direction; nothing is done twice."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.commands.flags import DataFlags
from compress.manifest import read_manifest
from compress.training.earlier_run import begun
from pipelines.scoring.evaluate import Evaluate
from pipelines.sweep.children import Children
from pipelines.sweep.record import MODEL_FOLDER, Record
from quant.artifact import is_artifact
from quant.card import Task
from quant.evaluation_file import EVALUATION_FILE, read_evaluations

CHECKPOINT_ONLY = ("source_template", "passage_separator", "max_source_tokens")
"""Settings of `evaluate` that an artifact knows itself, and a plain checkpoint has to be told."""

ARTIFACT_ONLY = ("check_generate",)
"""Settings of `evaluate` that mean nothing for a plain checkpoint."""


def evaluations(
    task: Task, settings: Mapping[str, Any], overrides: Mapping[str, Any], test: str, columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Settings of `dqbart evaluate` for each direction in which a run with these settings of `compress` is scored.

    `columns` are those of the test data: a `translation` column has both languages, else columns change places.
    """
    shared = {key: settings[key] for key in (*DataFlags.model_fields, *CHECKPOINT_ONLY) if key in settings}
    forward = {**shared, "task": task, "data": test, **overrides}
    if not settings.get("both_directions"):
        return [forward]
    backward = {
        **forward,
        "source_language": forward.get("target_language"),
        "target_language": forward.get("source_language"),
    }
    if "translation" not in columns or "source_field" in forward:
        backward["source_field"] = forward.get("target_field", "target")
        backward["target_field"] = forward.get("source_field", "source")
    return [forward, backward]


def complete(record: Record, folder: Path, children: Children) -> None:
    """Bring a run to its end and keep the result in its record. Raises CommandFailed, Interrupted."""
    if record.result is not None:
        return
    record.error = None
    model = folder / MODEL_FOLDER
    compress = record.asked.get("compress")
    if compress is not None and not record.trained:
        _compress(record, folder, model, compress, children)
    scored = model if compress is not None else Path(record.asked["teacher"])
    scores_file = model / EVALUATION_FILE if compress is not None else folder / EVALUATION_FILE
    scores_file.unlink(missing_ok=True)  # of an attempt that was stopped between two directions
    for settings in record.asked["evaluate"]:
        packed = is_artifact(scored)
        others = CHECKPOINT_ONLY if packed else ARTIFACT_ONLY
        given = {key: value for key, value in settings.items() if key in Evaluate.model_fields and key not in others}
        place: dict[str, Any] = {"output": str(scores_file)}
        if packed and compress is not None:
            place = {"keep": True}  # in the same file, and in the card
        arguments = ["evaluate", str(scored), *flags({**given, **place})]
        children.run(arguments, folder / "evaluate.log")
    scores = read_evaluations(scores_file)
    record.result = {"evaluations": scores}
    if compress is not None:
        cpu_seconds = (read_manifest(model) or {}).get("cpu_seconds", 0.0)
        minutes = {"minutes": round(record.seconds / 60, 1), "cpu_minutes": round(cpu_seconds / 60, 3)}
        record.result |= {"steps": _steps(model), **minutes}
    record.save()


def _compress(record: Record, folder: Path, model: Path, settings: Mapping[str, Any], children: Children) -> None:
    saved = begun(model)
    arguments = ["compress", record.asked["teacher"], *flags({**settings, "output": str(model), "resume": saved})]
    if not saved:
        shutil.rmtree(model, ignore_errors=True)  # begun, and stopped before its first save
    started = time.monotonic()
    try:
        children.run(arguments, folder / "compress.log")
        record.trained = True
    finally:
        record.seconds += time.monotonic() - started
        record.save()


def flags(settings: Mapping[str, Any]) -> list[str]:
    """Settings as the command line has them: `--no-` before what is off, a list as one flag for each entry."""
    written: list[str] = []
    for key, value in settings.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            written.append(f"--{name}" if value else f"--no-{name}")
        elif value is not None:
            entries = value if isinstance(value, list) else [value]
            written += [f"--{name}={json.dumps(each) if isinstance(each, dict) else each}" for each in entries]
    return written


def _steps(model: Path) -> int:
    """Optimizer steps of the training; 0 where there was none."""
    try:
        return int(json.loads((model / "training" / "last" / "state.json").read_text())["step"])
    except FileNotFoundError:
        return 0
