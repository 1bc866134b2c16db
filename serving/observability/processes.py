"""Memory, processor time and start of each replica with its engines' process, as the kernel tells them; on Linux only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.samples import Sample

OF_THE_REPLICA_ALONE = frozenset({"dqbart_process_start_time_seconds", "dqbart_process_max_fds"})
"""What is not added up over its processes."""


def replica_metrics(pids: Sequence[int]) -> Iterable[Metric]:
    """How many replicas live, and of each what prometheus_client tells of a process, with its number as a label."""
    yield GaugeMetricFamily("dqbart_replicas", "Replicas that run", value=len(pids))
    metrics: dict[str, Metric] = {}
    children = _children()
    for pid in pids:
        values: dict[str, float] = {}
        for process in (pid, *_below(pid, children)):
            for found in _process_metrics(process):
                metrics.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                for sample in found.samples:
                    if process == pid or sample.name not in OF_THE_REPLICA_ALONE:
                        values[sample.name] = values.get(sample.name, 0.0) + sample.value
        for name, value in values.items():
            metrics[name.removesuffix("_total")].samples.append(Sample(name, {"pid": str(pid)}, value))
    yield from metrics.values()


def descendants(pid: int) -> list[int]:
    """Processes below `pid`; none on a system without /proc."""
    return _below(pid, _children())


def is_stopped(pid: int) -> bool:
    """Whether the process stands still, by a signal or a debugger; False where it cannot be known."""
    with contextlib.suppress(OSError):
        return _state_and_parent(Path(f"/proc/{pid}/stat"))[0] in "Tt"
    return False


def _state_and_parent(stat: Path) -> tuple[str, int]:
    # The name, in parentheses, may hold anything; the state and the parent follow it.
    state, parent = stat.read_text().rpartition(")")[2].split()[:2]
    return state, int(parent)


def _children() -> dict[int, list[int]]:
    """Of every process that has any."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = _state_and_parent(stat)
            if state != "Z":
                children.setdefault(parent, []).append(int(stat.parent.name))
    return children


def _below(pid: int, children: Mapping[int, list[int]]) -> list[int]:
    found: list[int] = []
    wanted = [pid]
    while wanted:
        wanted = [child for parent in wanted for child in children.get(parent, [])]
        found += wanted
    return found


def _process_metrics(pid: int) -> Iterable[Metric]:
    return ProcessCollector("dqbart", lambda: pid, registry=None).collect()
