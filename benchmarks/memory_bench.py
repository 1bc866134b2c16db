"""Runs `dqbart bench memory`: fresh processes load the students, for the first time and again; one then decodes."""

from __future__ import annotations

import json
import shutil
import string
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.commands import BenchMemory
from benchmarks.contestants import Specification
from benchmarks.loading import Held, Loaded, Loading, LoadingFailed
from benchmarks.students import student_folder
from benchmarks.worker import Worker, WorkerFailed
from benchmarks.works import TARGETS
from quant.artifact import WEIGHTS_FILE, ArtifactError, open_artifact

NEW_TOKENS = 64
_DIGEST = b'"source_digest":"sha256:0"'
"""In the header of a random student."""


def run_bench_memory(settings: BenchMemory) -> int:
    """Returns the exit code: 0 measured, 1 not."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = student_folder(settings.artifact, settings.layers, settings.bits, Path(scratch), settings.shape)
            longest = open_artifact(folder).card.max_source_tokens
            folders = [folder, *_others(folder, settings.models - 1, Path(scratch))]
            file_bytes = sum((each / WEIGHTS_FILE).stat().st_size for each in folders)
            loadings = _load(folders, settings, str(Path(scratch) / "packed"))
            decoding = _decode(folder, longest, settings, scratch)
    except (ArtifactError, LoadingFailed, ValueError, WorkerFailed) as error:
        print(f"dqbart bench memory: error: {error}", file=sys.stderr)
        return 1
    console = Console()
    console.print(_loading_table(f"{len(folders)} x {folder.name}, files of {file_bytes / 1e6:.0f} MB", loadings))
    table = Table("", title=f"Resident memory of {folder.name}", title_justify="left")
    table.add_column("MB above torch", justify="right")
    start = decoding.pop("torch")
    for point, count in decoding.items():
        table.add_row(point, f"{count / 1e6:.0f}")
    console.print(table)
    console.print(f"an interpreter that has imported torch: {start / 1e6:.0f} MB")
    if settings.json_file is not None:
        figures = {name: {**loaded._asdict(), "held": loaded.held._asdict()} for name, loaded in loadings.items()}
        written = {"student": folder.name, "files": file_bytes, "loading": figures, "torch": start, **decoding}
        settings.json_file.write_text(json.dumps(written, indent=2) + "\n")
    return 0


def _load(folders: list[Path], settings: BenchMemory, packed: str) -> dict[str, Loaded]:
    """What each of several starts took and holds."""
    given = (folders, settings.threads, settings.runner)
    with Loading(*given, "none") as alone:
        loadings = {"without a folder": alone.loaded}
    with Loading(*given, packed) as first:
        loadings["first start"] = first.loaded
    with Loading(*given, packed) as later:
        loadings["later start"] = later.loaded
        with Loading(*given, packed) as beside:
            loadings["and one beside it"] = beside.loaded
            loadings["each of the two"] = later.loaded._replace(held=Held(*later.held()))
    return loadings


def _decode(folder: Path, longest: int, settings: BenchMemory, cache: str) -> dict[str, int]:
    """Resident bytes at each point of one student, above torch."""
    specification = Specification("engine", "engine", folder, settings.threads, settings.runner)
    with Worker(specification._replace(environment=(("XDG_CACHE_HOME", cache),))) as worker:
        start = worker.before_loading.resident
        figures = {"torch": start, "loaded": worker.loaded.resident - start}
        figures["most while loading"] = worker.loaded.peak - start
        for work in TARGETS:
            if work.source_tokens <= longest:
                worker.seconds(work, NEW_TOKENS)
                figures[f"after {work}"] = worker.memory().resident - start
    return figures


def _loading_table(title: str, loadings: dict[str, Loaded]) -> Table:
    table = Table("", title=f"Loading {title}", title_justify="left")
    for column in ("s", "s of a core", "most, MB", "resident, MB", "proportional, MB", "own, MB"):
        table.add_column(column, justify="right")
    for name, loaded in loadings.items():
        figures = [f"{count / 1e6:.0f}" for count in (loaded.most, *loaded.held)]
        table.add_row(name, f"{loaded.seconds:.2f}", f"{loaded.processor_seconds:.2f}", *figures)
    return table


def _others(folder: Path, count: int, scratch: Path) -> list[Path]:
    """Students of the same size with other files: nothing of them is shared. Raises ValueError for too many."""
    names = (string.digits + string.ascii_letters)[1:]
    if count > len(names):
        raise ValueError(f"models: {count + 1}, {len(names) + 1} at most are made")
    others = []
    for name in names[:count]:
        other = scratch / f"{folder.name}-{name}"
        shutil.copytree(folder, other)
        content = (folder / WEIGHTS_FILE).read_bytes()
        if _DIGEST not in content:
            raise ValueError(f"models: {count + 1}, of a random student only; {folder} is one")
        (other / WEIGHTS_FILE).write_bytes(content.replace(_DIGEST, _DIGEST[:-2] + name.encode() + b'"', 1))
        others.append(other)
    return others
