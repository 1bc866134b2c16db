"""Threads follow processor sets, control groups and OMP_NUM_THREADS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quant.processors import available_processors, available_threads, processor_quota


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def process(tmp_path: Path, membership: str, *mounts: str) -> Path:
    """A folder as in /proc; in mounts, ROOT is the temporary folder."""
    lines = [f"{number} 1 0:{number} {mount}" for number, mount in enumerate(mounts, 20)]
    write(tmp_path, {"proc/cgroup": membership, "proc/mountinfo": "\n".join(lines).replace("ROOT", str(tmp_path)) + "\n"})
    return tmp_path / "proc"


UNIFIED = "/ ROOT/sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a/b/cpu.max": "200000 100000\n"}, 2.0),
        ({"a/b/cpu.max": "150000 100000\n"}, 1.5),
        ({"a/b/cpu.max": "max 100000\n"}, None),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3.0),
        ({"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ({"a/c/cpu.max": "100000 100000\n"}, None),
        ({"a/b/cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_quota_of_nested_groups(files: dict[str, str], expected: float | None, tmp_path: Path) -> None:
    write(tmp_path / "sys/fs/cgroup", files)
    assert processor_quota(process(tmp_path, "0::/a/b\n", UNIFIED)) == expected


def test_quota_of_the_old_hierarchy(tmp_path: Path) -> None:
    """Controllers are mounted one by one; the unified one beside them has none."""
    write(
        tmp_path / "cpu",
        {"job/cpu.cfs_quota_us": "250000\n", "job/cpu.cfs_period_us": "100000\n", "cpu.cfs_quota_us": "-1\n"},
    )
    mounts = (
        "/ ROOT/memory rw - cgroup cgroup rw,memory",
        "/ ROOT/cpu rw - cgroup cgroup rw,cpu,cpuacct",
        "/ ROOT/unified rw - cgroup2 cgroup2 rw",
    )
    assert processor_quota(process(tmp_path, "9:memory:/other\n4:cpu,cpuacct:/job\n0::/\n", *mounts)) == 2.5


def test_quota_of_a_container_that_sees_its_own_part_of_the_hierarchy(tmp_path: Path) -> None:
    write(tmp_path / "cg", {"cpu.cfs_quota_us": "100000\n", "cpu.cfs_period_us": "50000\n"})
    membership, mount = "3:cpu:/docker/ab\n", "/docker/ab ROOT/cg ro - cgroup cgroup rw,cpu"
    assert processor_quota(process(tmp_path, membership, mount)) == 2.0
    # Its name outside is told, the mount is its own root.
    assert processor_quota(process(tmp_path, membership, mount.replace("/docker/ab", "/", 1))) == 2.0


def test_mount_points_with_spaces(tmp_path: Path) -> None:
    write(tmp_path / "with space", {"cpu.max": "200000 100000"})
    mount = "/ ROOT/with\\040space rw - cgroup2 cgroup2 rw"
    assert processor_quota(process(tmp_path, "0::/\n", mount)) == 2.0


def test_no_proc_is_no_quota(tmp_path: Path) -> None:
    assert processor_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("processors", "quota", "named", "expected"),
    [
        (64, None, None, 64),
        (64, 2.0, None, 2),
        (64, 1.5, None, 1),
        (64, 0.5, None, 1),
        (3, 8.0, None, 3),
        (64, 8.0, "4", 4),
        (2, None, "4", 2),
        (8, None, "4,2", 4),
        (8, None, "", 8),
        (8, None, "many", 8),
        (8, None, "0", 8),
    ],
)
def test_the_least_counts(
    processors: int, quota: float | None, named: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
    monkeypatch.setattr("quant.processors.processor_quota", lambda: quota)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if named is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", named)
    assert available_threads() == expected
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert available_processors() == available_threads()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux has sets of processors")
def test_processor_sets_are_followed() -> None:
    """In a process of its own, confined to one processor."""
    script = "from quant.processors import available_threads; print(available_threads())"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    confined = f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}}); {script}"
    assert subprocess.check_output([sys.executable, "-c", confined], env=environment, text=True) == "1\n"
