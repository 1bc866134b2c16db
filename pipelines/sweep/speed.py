"""Decoding speed of all students, measured at the end and in turns, so that a machine whose speed drifts is fair to all.

A student is loaded for its turn and freed after it: as many can be compared as there are, however large. All run on the CPU:
artifacts on the engine, what was not quantized as `transformers` runs it, in float32. All decode the same random sources
greedily to the same length, so that a figure says how fast a model is and not how short its outputs are.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.contestants import Specification
from benchmarks.works import Work
from quant.artifact import is_artifact
from serving.engine.runners import reason_against
from serving.engine.settings import RunnerName
from serving.engine.threads import set_threads

BATCHES = (1, 8)
SPEED_FILE = "speed.json"


@dataclass(frozen=True)
class SpeedSettings:
    """What decides the figures, beside the machine."""

    source_tokens: int
    new_tokens: int
    rounds: int
    threads: int


def measure_speeds(
    models: Mapping[str, Path], settings: SpeedSettings, file: Path, turn: Callable[[int, str], None] = lambda *_: None
) -> dict[str, dict[str, Any]]:
    """Name → `by`, what ran it, and `tokens_per_second` by batch; `error` in their place where a model cannot be run.

    Figures are kept in `file`, and taken from it where it holds the same models under the same settings. `turn` is called
    with the round and the name before each turn.
    """
    identity = {"settings": asdict(settings), "models": {name: str(path) for name, path in models.items()}}
    kept = _kept(file, identity)
    if kept is not None:
        return kept
    set_threads(settings.threads)
    rates: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in BATCHES} for name in models}
    errors: dict[str, str] = {}
    for number in range(settings.rounds):
        for name, folder in models.items():
            if name not in errors:
                turn(number, name)
                try:
                    for batch, rate in _turn(folder, settings).items():
                        rates[name][batch].append(rate)
                except Exception as error:  # of one model, of whatever kind: the others are measured all the same
                    errors[name] = f"{type(error).__name__}: {error}"
    by = f"engine, {_runner()}"
    speeds: dict[str, dict[str, Any]] = {}
    for name, folder in models.items():
        if name in errors:
            speeds[name] = {"error": errors[name]}
        else:
            medians = {str(batch): round(statistics.median(measured), 1) for batch, measured in rates[name].items()}
            speeds[name] = {"by": by if is_artifact(folder) else "transformers, float32", "tokens_per_second": medians}
    file.write_text(json.dumps({**identity, "speeds": speeds}, indent=2) + "\n")
    return speeds


def _turn(folder: Path, settings: SpeedSettings) -> dict[int, float]:
    """Batch → generated tokens a second, over all sources; encoding is part of the time."""
    kind: Literal["engine", "transformers"] = "engine" if is_artifact(folder) else "transformers"
    contestant = Specification(folder.name, kind, folder, settings.threads, _runner()).load()
    rates = {}
    for batch in BATCHES:
        run = contestant.prepare(Work(batch, settings.source_tokens, beams=1), settings.new_tokens)
        run()  # the first run of a model allocates and does not count
        started = time.perf_counter()
        counts = run()
        rates[batch] = sum(counts) / (time.perf_counter() - started)
    del contestant, run
    gc.collect()
    return rates


def _runner() -> RunnerName:
    """The fastest on the CPU, even where there is a GPU, on which `transformers` is not timed."""
    return "pytorch" if reason_against("native") else "native"


def _kept(file: Path, identity: Mapping[str, Any]) -> dict[str, dict[str, Any]] | None:
    try:
        entries = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    speeds: dict[str, dict[str, Any]] = entries.pop("speeds", None)
    return speeds if entries == identity else None
