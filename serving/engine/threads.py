"""How many threads compute: those that this process may use, and those that it is told to.

What may be used is the least of the processors of the process's set (`taskset`, cpuset), its control groups' share of
processor time (`docker run --cpus`, the limit of a container in Kubernetes), and OMP_NUM_THREADS. A share of 1.5 processors
makes 1 thread: two would have used up a period's time before its end, and both would stand still for the rest of it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROCESS = Path("/proc/self")


def available_threads() -> int:
    """Threads that this process can keep busy, at least 1."""
    limits = [float(_processors())]
    if (quota := processor_quota()) is not None:
        limits.append(quota)
    # Of several levels of nesting, the first counts.
    named = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if named.isdecimal():
        limits.append(float(named))
    return max(1, math.floor(min(limits)))


def set_threads(threads: int) -> None:
    """Let kernels and PyTorch's operations compute on so many threads, the caller's included.

    PyTorch splits rows evenly among its threads, and an odd share would leave the last rows of each to a scalar loop that
    rounds differently from the vectorised one; it gets a power of two.
    """
    import torch

    from serving.engine.native.team import team

    torch.set_num_threads(1 << (threads.bit_length() - 1))
    if (found := team()) is not None:
        found.dq_team_resize(threads)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """PyTorch's operations on the caller's thread alone: its team waits at barriers for whoever is late."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
