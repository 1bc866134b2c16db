"""Memory, processor time and start of each replica's process, as the kernel tells them; on Linux only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.samples import Sample


def replica_metrics(pids: Sequence[int]) -> Iterable[Metric]:
    """How many replicas live, and of each what prometheus_client tells of a process, with its number as a label."""
    yield GaugeMetricFamily("dqbart_replicas", "Replicas that run", value=len(pids))
    metrics: dict[str, Metric] = {}
    for pid in pids:
        for found in _process_metrics(pid):
            metric = metrics.setdefault(found.name, Metric(found.name, found.documentation, found.type))
            metric.samples += [Sample(sample.name, {"pid": str(pid)}, sample.value) for sample in found.samples]
    yield from metrics.values()


def _process_metrics(pid: int) -> Iterable[Metric]:
    return ProcessCollector("dqbart", lambda: pid, registry=None).collect()
