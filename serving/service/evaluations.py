"""The scores that came with a model, its teacher's beside its own, from the evaluation.json in its folder.

A record there is of one model on one data set. Which model it was is read off the command that made it, which names the
model's folder; the name in the record is for people. Records of neither the model nor its teacher are left out.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from quant.evaluation_file import EVALUATION_FILE, read_evaluations
from serving.service.descriptions import Evaluation, Score
from serving.service.requests import GenerationParameters

LENGTHS = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}
"""Lengths that count the decoder's start token, and ours, which do not."""

Whole = Annotated[int, Field(ge=-(2**31), lt=2**31)]
"""What gRPC's messages have room for."""

_LOG = logging.getLogger(__name__)


class _Record(BaseModel):
    """What is read of a record of evaluation.json."""

    command: str
    data: str
    examples: Whole
    source_language: str | None = None
    target_language: str | None = None
    decoding: dict[str, bool | Whole | FiniteFloat | Literal["never"]] = {}
    scores: dict[str, FiniteFloat]

    @property
    def model(self) -> str:
        """Name of the folder of the model that was scored."""
        words = shlex.split(self.command)
        return words[2] if len(words) > 2 else ""


def kept_evaluations(folder: Path, teacher: str) -> list[Evaluation]:
    """The evaluations of the model in `folder`, a student of `teacher` (name, path or hub id), in the file's order.

    Scores are no reason not to serve: where the file cannot be read, the log says why and there are none.
    """
    try:
        records = TypeAdapter(list[_Record]).validate_python(read_evaluations(folder / EVALUATION_FILE))
        return _paired(records, folder.name, teacher.rstrip("/").rpartition("/")[2])
    except (ValueError, OSError) as error:
        _LOG.warning("the scores of %s are not shown: %s: %s", folder.name, folder / EVALUATION_FILE, _fault(error))
        return []


def _paired(records: list[_Record], student: str, teacher: str) -> list[Evaluation]:
    others = {record.model for record in records} - {teacher}
    if student not in others and len(others) == 1:
        (student,) = others  # the folder was renamed since
    scores: dict[str, dict[str, Mapping[str, float]]] = {}
    described: dict[str, _Record] = {}
    for record in records:
        if record.model in (student, teacher):
            figure = (record.data, record.source_language, record.target_language, record.decoding)
            key = json.dumps(figure, sort_keys=True)
            described.setdefault(key, record)
            scores.setdefault(key, {})[record.model] = record.scores
    return [
        _evaluation(record, scores[key].get(student, {}), scores[key].get(teacher, {})) for key, record in described.items()
    ]


def _evaluation(record: _Record, student: Mapping[str, float], teacher: Mapping[str, float]) -> Evaluation:
    lengths = {LENGTHS[name]: max(int(value) - 1, 0) for name, value in record.decoding.items() if name in LENGTHS}
    decoding = {**{name: value for name, value in record.decoding.items() if name not in LENGTHS}, **lengths}
    return Evaluation(
        data=record.data,
        source_language=record.source_language,
        target_language=record.target_language,
        examples=record.examples,
        decoding=GenerationParameters.model_validate(decoding),
        scores=[
            Score(metric=metric, student=student.get(metric), teacher=teacher.get(metric))
            for metric in dict.fromkeys([*student, *teacher])
        ],
    )


def _fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
