"""Models loaded in a process of its own, timed: `python -m benchmarks.loading THREADS RUNNER PACKED_FOLDER ARTIFACT…`.

It says on standard output what it took, as JSON, and again what it holds for each line that it reads: pages of a file that
processes share count for each of them as a part, which changes as others come and go.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple


class Held(NamedTuple):
    """Bytes in memory of a process, above those that it had when torch was imported."""

    resident: int
    """What is in memory of all that is mapped."""
    proportional: int
    """The same, pages that are shared counting by how many share them."""
    own: int
    """Of pages that no file holds, and that nobody shares."""


class Loaded(NamedTuple):
    """What loading took."""

    seconds: float
    processor_seconds: float
    """Of all threads: what others do on the machine counts little."""
    most: int
    """The most bytes resident while loading, above those at the start."""
    held: Held


class LoadingFailed(RuntimeError):
    """The process ended without an answer; its own message stands above, on standard error."""


class Loading:
    """The parent's end; a context manager that ends the process."""

    def __init__(self, folders: Sequence[Path], threads: int, runner: str, packed_folder: str) -> None:
        """Starts the process and waits until it has loaded. Raises LoadingFailed."""
        given = [str(threads), runner, packed_folder, *map(str, folders)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.loading", *given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            seconds, processor, most, held = self._answer()
        except LoadingFailed:
            self.__exit__()
            raise
        self.loaded = Loaded(seconds, processor, most, Held(*held))

    def __enter__(self) -> Loading:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__(None, None, None)

    def held(self) -> Held:
        """What it holds now. Raises LoadingFailed."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Held(*self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LoadingFailed(f"loading ended with code {self._process.wait()}")
        return json.loads(line)


def held() -> Held:
    """Of this process, from its start; Linux only."""
    text = Path("/proc/self/smaps_rollup").read_text()
    rss, pss, anonymous = (_kilobytes(name, text) for name in ("Rss", "Pss", "Anonymous"))
    return Held(rss, pss, anonymous)


def peak() -> int:
    """The most bytes that were resident at a time."""
    return _kilobytes("VmHWM", Path("/proc/self/status").read_text())


def _kilobytes(name: str, text: str) -> int:
    found = re.search(rf"^{name}:\s+([0-9]+) kB$", text, re.MULTILINE)
    assert found is not None, f"no {name}"
    return 1024 * int(found[1])


def main() -> None:
    threads, runner, packed_folder, *folders = sys.argv[1:]
    from serving.engine.engine import load_engine
    from serving.engine.settings import EngineSettings
    from serving.engine.threads import set_threads

    set_threads(int(threads))
    settings = EngineSettings(packed_folder=packed_folder)
    before, started, computed = held(), perf_counter(), process_time()
    engines = [load_engine(Path(folder), settings, runner) for folder in folders]  # type: ignore[arg-type]
    seconds, processor, most = perf_counter() - started, process_time() - computed, peak() - before.resident

    def above() -> Held:
        return Held(*(now - then for now, then in zip(held(), before, strict=True)))

    print(json.dumps((seconds, processor, most, above())), flush=True)
    for _ in sys.stdin:
        print(json.dumps(above()), flush=True)
    del engines


if __name__ == "__main__":
    main()
