"""How many threads this process can keep busy.

That is the least of the processors of its set (`taskset`, cpuset), its control groups' share of processor time (`--cpus` of
`docker run`, the limit of a container in Kubernetes), and OMP_NUM_THREADS. A share of 1.5 processors makes 1 thread: two
would have used up a period's time before its end, and both would stand still for the rest of it.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_PROCESS = Path("/proc/self")


def available_threads() -> int:
    """Threads that this process can keep busy and is allowed to, at least 1."""
    # Of several levels of nesting, the first counts.
    named = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(available_processors(), int(named) if named.isdecimal() and int(named) else sys.maxsize)


def available_processors() -> int:
    """Whole processors that this process has, at least 1."""
    return max(1, math.floor(min(_processors(), processor_quota() or math.inf)))


def processor_quota(process: Path = _PROCESS) -> float | None:
    """Processors' worth of time that control groups leave to a process, the least of its groups and those around them.

    None where nothing is limited. `process` is its folder in /proc.
    """
    quotas = [quota for folder in _groups(process) if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        return os.cpu_count() or 1


def _groups(process: Path) -> Iterator[Path]:
    """Folders of the control groups that may limit processor time, from the inmost to the root of each hierarchy."""
    try:
        memberships = (process / "cgroup").read_text().splitlines()
        mounts = (process / "mountinfo").read_text().splitlines()
    except OSError:
        return
    for membership in memberships:
        _, controllers, path = membership.split(":", 2)
        for mount in mounts:
            before, _, after = mount.partition(" - ")
            root, point = (Path(_unescaped(field)) for field in before.split(" ")[3:5])
            kind, options = after.split(" ")[0], after.split(" ")[-1].split(",")
            unified = kind == "cgroup2" and not controllers
            if unified or (kind == "cgroup" and "cpu" in options and "cpu" in controllers.split(",")):
                # In a container, the mount may show a part of the hierarchy, and the path be told from its root.
                inner = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path()
                group = point / inner
                yield from (each for each in (group, *group.parents) if each.is_relative_to(point))


def _quota_of(group: Path) -> float | None:
    try:
        if (both := group / "cpu.max").exists():
            quota, period = both.read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _unescaped(field: str) -> str:
    """Of mountinfo, which writes spaces and the like as octal numbers."""
    return field.encode().decode("unicode_escape") if "\\" in field else field
