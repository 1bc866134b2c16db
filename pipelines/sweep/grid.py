"""Which students a sweep makes: every pair of layers and bits, in each time, and named runs with settings of their own.

Each run's settings are read by the class of `dqbart compress` before any run starts, so that a misspelt key is found at once
and not after hours. The settings are kept as they were written; what they leave out has the command's own defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dqbart.cli import describe
from pipelines.compressing.compress import Compress
from quant.card import Task

OWN = ("config", "teacher", "output", "resume")
"""Settings of `compress` that the sweep gives itself."""

NO_ENVIRONMENT: dict[str, Any] = {"_env_prefix": "DQBART_NOT_READ_"}
"""No variable of the environment is a setting of a run: it would not stand in the record of what was run."""

TEACHER = "teacher"
"""Name of the teacher's own row, which no run may have."""


@dataclass(frozen=True)
class Run:
    """One student."""

    name: str
    task: Task | None
    """None where the teacher knows it."""
    layers: str
    bits: str
    settings: Mapping[str, Any]
    """Of `dqbart compress`, by the names of its flags."""
    own: Mapping[str, Any]
    """Those of the settings, besides layers and bits, that an extra run has and the grid has not."""
    extra: bool = False
    """Whether the run stands outside the grid."""
    minutes: float | None = None
    """Those of the grid that it is trained for; None where the grid has none."""

    def compress(self, teacher: str) -> Compress:
        """Its settings, read as `dqbart compress` reads them. Raises ValidationError."""
        return Compress(**NO_ENVIRONMENT, teacher=teacher, output=Path(self.folder), **self.settings)

    @property
    def folder(self) -> str:
        """The name as a file name."""
        return file_name(self.name)


def file_name(name: str) -> str:
    """A run's name with everything but letters, digits, dots and hyphens replaced."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._")


def normalized(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their names in YAML, where they are spelt as flags, too."""
    return {str(key).replace("-", "_"): value for key, value in settings.items()}


def runs_of(
    common: Mapping[str, Any],
    layers: Sequence[str],
    bits: Sequence[str],
    extra: Sequence[Mapping[str, Any]],
    minutes: Sequence[float] = (),
) -> list[Run]:
    """The grid, bits by bits and from the least time to the most, then the extra runs.

    Of the grid, `minutes` end a run in place of steps and epochs; 0 makes a student without training. Raises ValueError that
    says every fault.
    """
    faults: list[str] = []
    runs: list[Run] = []
    times: Sequence[float | None] = sorted(minutes) or [None]
    for width in bits:
        for depth in layers:
            for time in times:
                name = f"{depth} {width}" if time is None else f"{depth} {width} {time:g} min"
                runs += _run(name, common, {"layers": depth, "bits": width}, faults, extra=False, minutes=time)
    for number, settings in enumerate(extra):
        given = dict(settings)
        name = given.pop("name", None)
        if isinstance(name, str) and file_name(name):
            runs += _run(name, common, given, faults, extra=True)
        else:
            faults.append(f"extra.{number}: name = {name!r}: a text is required, which names the run in table and plot")
    if (layers and not bits) or (bits and not layers):
        faults.append("layers and bits make the grid together: give both, or neither and only extra runs")
    if minutes and not (layers and bits):
        faults.append("minutes are of the grid, which layers and bits make")
    if not runs and not faults:
        faults.append("there is no run: layers and bits make a grid, extra has runs by name")
    taken: dict[str, str] = {file_name(TEACHER): TEACHER}
    for run in runs:
        if run.folder in taken:
            faults.append(f"{run.name}: there is {taken[run.folder]!r} already, each run needs a name of its own")
        taken[run.folder] = run.name
    if len({run.task for run in runs}) > 1:
        faults.append("task: all runs of a sweep have one, in `compress`")
    if faults:
        raise ValueError("; ".join(faults))
    return runs


def _run(
    name: str,
    common: Mapping[str, Any],
    own: Mapping[str, Any],
    faults: list[str],
    extra: bool,
    minutes: float | None = None,
) -> list[Run]:
    """The run, or none where its settings are at fault."""
    own = normalized(own)
    settings = {**normalized(common), **own}
    if minutes is not None:
        settings = {key: value for key, value in settings.items() if key not in ("max_steps", "max_minutes")}
        settings |= {"max_minutes": minutes} if minutes else {"max_steps": 0}
    if given := [key for key in settings if key in OWN]:
        faults.append(f"{name}: {', '.join(given)}: the sweep sets it itself")
        return []
    try:
        read = Compress(**NO_ENVIRONMENT, teacher=TEACHER, output=Path(TEACHER), **settings)
    except ValidationError as error:
        faults += [f"{name}: {line}" for line in describe(error, Compress).splitlines()]
        return []
    shown = {key: value for key, value in own.items() if key not in ("layers", "bits")}
    return [Run(name, read.task, read.layers, read.bits, settings, shown, extra, minutes)]
