"""The figures of all replicas on a node, through files that they share.

Each replica is a process of its own, and a scrape reaches one of them. prometheus_client's multiprocess mode has every
process write its values to files in one folder, and whichever is asked merges them. What it leaves open is done here:

- *Who is alive.* A replica holds a lock on a file of its own. The kernel lets go of it however the replica ends, and a later
  process with the same number has no lock; a look at the number alone would be wrong about both.
- *What a dead replica leaves.* Its gauges are dropped, for it has nothing to do any more. Its counters and histograms must
  not fall, and are added to those of all who died before: a file for each replica that ever ran would make a scrape slower
  with every restart.

Both happen at a scrape, one process at a time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_SUMMED = ("counter", "histogram")
"""Kinds of files whose values go on counting when the process that wrote them is dead."""
_KINDS = (*_SUMMED, "gauge_livesum", "gauge_livemax")
_DEAD = "dead"
"""Stands where a file's name has the process, in those that hold the sums of the dead."""


class ReplicaFiles:
    """A node's folder, and this process's place in it; made once, before the process counts anything."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        with self._alone():
            # Left by a process of another time, or another container, that had our number.
            self._bury(os.getpid())
            self._alive = self._lock_file(os.getpid()).open("wb", buffering=0)
            fcntl.flock(self._alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for kind in _KINDS:
                # A reader must not meet a file that has no head yet.
                _close(_opened(self._file(kind, os.getpid())))

    def read(self) -> tuple[list[Metric], list[int]]:
        """What all replicas counted, and the process numbers of those that live."""
        with self._alone():
            alive = []
            for path in self._folder.glob("*.lock"):
                pid = int(path.stem)
                if _is_held(path):
                    alive.append(pid)
                else:
                    self._bury(pid)
                    path.unlink()
            merged = MultiProcessCollector(None, str(self._folder)).collect()  # type: ignore[no-untyped-call]
            return list(merged), sorted(alive)

    def _bury(self, pid: int) -> None:
        mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        for kind in _SUMMED:
            path = self._file(kind, pid)
            if path.exists():
                _add(path, self._file(kind, _DEAD))
                path.unlink()

    def _file(self, kind: str, owner: int | str) -> Path:
        # These names are prometheus_client's.
        return self._folder / f"{kind}_{owner}.db"

    def _lock_file(self, pid: int) -> Path:
        return self._folder / f"{pid}.lock"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / "folder").open("wb", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _is_held(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _add(path: Path, sums: Path) -> None:
    """Add each value of one file to that of the other."""
    total = _opened(sums)
    for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
        before, _ = total.read_value(key)  # type: ignore[no-untyped-call]
        total.write_value(key, before + value, 0.0)  # type: ignore[no-untyped-call]
    _close(total)


def _opened(path: Path) -> MmapedDict:
    return MmapedDict(str(path))  # type: ignore[no-untyped-call]


def _close(file: MmapedDict) -> None:
    file.close()  # type: ignore[no-untyped-call]
