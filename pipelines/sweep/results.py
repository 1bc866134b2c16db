"""What came of a sweep, one row a model: sizes, scores beside the teacher's, speed; also as results.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compress.scoring.evaluation_file import direction
from pipelines.sweep.grid import TEACHER
from pipelines.sweep.record import SweepError
from quant.artifact import WEIGHTS_FILE, is_artifact, open_artifact, sizes
from quant.layout import Architecture, ArchitectureError, float_bytes

RESULTS_FILE = "results.json"


@dataclass
class Row:
    """One model. What a failed run has not is None or empty."""

    name: str
    layers: str
    bits: str
    own: Mapping[str, Any] = field(default_factory=dict)
    """Settings in which an extra run differs from the grid."""
    extra: bool = False
    """Whether it stands outside the grid."""
    grid_minutes: float | None = None
    """Of training, as the grid asked for."""
    bytes: int | None = None
    """Of the weights' file; of a model in full precision, of its weights in float32."""
    ratio: float | None = None
    """How many times smaller than the teacher's weights in float32."""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    """Direction (empty for models of one language) → metric → score."""
    signatures: dict[str, str] = field(default_factory=dict)
    """Metric → how its library computed it."""
    score: float | None = None
    """The sweep's metric, mean over directions."""
    share: float | None = None
    """Of the teacher's score, in percent."""
    tokens_per_second: dict[str, float] = field(default_factory=dict)
    """By batch."""
    timed_by: str | None = None
    steps: int | None = None
    minutes: float | None = None
    """Of `dqbart compress`, validations included."""
    cpu_minutes: float | None = None
    """Of the processor, by the model's manifest: of all threads, and whatever else the machine did."""
    error: str | None = None


def teacher_row(name: str) -> tuple[Row, int]:
    """The teacher's row without its scores, and the bytes of its weights in float32. Raises SweepError, ArtifactError."""
    if is_artifact(Path(name)):
        artifact = open_artifact(Path(name))
        layers, bits, in_float = str(artifact.architecture.layers), str(artifact.scheme), sizes(artifact).float32
        packed = sizes(artifact).packed
        return Row(TEACHER, layers, bits, bytes=packed, ratio=in_float / packed), in_float
    from transformers import AutoConfig

    try:
        architecture = Architecture.from_config(AutoConfig.from_pretrained(name).to_dict())
    except (OSError, ValueError, ArchitectureError) as error:
        raise SweepError(f"teacher {name} cannot be loaded: {error}") from error
    in_float = float_bytes(architecture)
    return Row(TEACHER, str(architecture.layers), "full", bytes=in_float, ratio=1.0), in_float


def scored(row: Row, result: Mapping[str, Any], metric: str) -> Row:
    """The row with the scores, steps and minutes of a finished run."""
    row.scores = {direction(record): dict(record["scores"]) for record in result["evaluations"]}
    row.signatures = {name: text for record in result["evaluations"] for name, text in record["signatures"].items()}
    row.steps, row.minutes, row.cpu_minutes = (result.get(name) for name in ("steps", "minutes", "cpu_minutes"))
    chosen = [scores[metric] for scores in row.scores.values() if metric in scores]
    if len(chosen) == len(row.scores):
        row.score = sum(chosen) / len(chosen)
    else:
        known = ", ".join(dict.fromkeys(name for scores in row.scores.values() for name in scores))
        row.error = f"metric = {metric!r}: the scores are {known}"
    return row


def sized(row: Row, folder: Path, teacher_bytes: int) -> Row:
    """The row with the size of the model in a folder."""
    if is_artifact(folder):
        row.bytes = (folder / WEIGHTS_FILE).stat().st_size
    else:
        row.bytes = float_bytes(Architecture.from_config(json.loads((folder / "config.json").read_text())))
    row.ratio = teacher_bytes / row.bytes
    return row


def compared(rows: Sequence[Row], teacher: Row, speeds: Mapping[str, Mapping[str, Any]]) -> None:
    """Put into all rows, the teacher's too, what needs the others: shares of its score, and speeds."""
    for row in (teacher, *rows):
        if row.scores and teacher.scores and row.signatures != teacher.signatures:
            row.error = row.error or f"not comparable: scored as {row.signatures}, the teacher as {teacher.signatures}"
        elif row.score is not None and teacher.score:
            row.share = 100 * row.score / teacher.score
        speed = speeds.get(row.name, {})
        row.tokens_per_second, row.timed_by = dict(speed.get("tokens_per_second", {})), speed.get("by")
        row.error = row.error or speed.get("error")


def write_results(path: Path, teacher: Row, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    entries = {**about, "teacher": asdict(teacher), "runs": [asdict(row) for row in rows]}
    path.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")
