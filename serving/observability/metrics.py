"""Metrics in Prometheus' format, one page for all replicas.

Each replica is a process of its own, and a scrape reaches one of them. prometheus_client's multiprocess mode lets every
process write its values to files in PROMETHEUS_MULTIPROC_DIR, and whichever is asked merges them. Without that variable
there is one process, and the page is its own. Every label value comes from a closed set, so that clients cannot make series:
a model that is not served counts as `unknown`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from quant.card import Task
from serving.engine.request import Result

if TYPE_CHECKING:
    from serving.engine.engine import EngineStats

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
UNKNOWN_MODEL = "unknown"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Metrics:
    """What is counted, and the page that shows it."""

    def __init__(self) -> None:
        self._own = CollectorRegistry()
        per_request = ("task", "model", "protocol")
        self._requests = self._counter(
            "dqbart_requests_total", "Requests by how they ended: ok, cancelled, or an error code", *per_request, "outcome"
        )
        self._duration = self._histogram(
            "dqbart_request_duration_seconds", "From a request's arrival to its end", SECONDS, *per_request
        )
        self._inputs = self._counter("dqbart_inputs_total", "Inputs answered; a request may have several", "model")
        self._truncated = self._counter(
            "dqbart_truncated_inputs_total",
            "Of these, the ones that were cut (end) or split (chunk)",
            "model",
            "truncation",
        )
        self._windows = self._counter(
            "dqbart_windows_total", "Sources that the model answered; an input in chunks has several", "model"
        )
        self._queue_time = self._histogram("dqbart_queue_seconds", "How long sources waited to be encoded", SECONDS, "model")
        self._source_tokens = self._counter("dqbart_source_tokens_total", "Source tokens read", "model")
        self._generated_tokens = self._counter("dqbart_generated_tokens_total", "Tokens generated", "model")
        self._queue_size = self._gauge("dqbart_queue_size", "Sources waiting for their encoding", "model")
        self._running = self._gauge("dqbart_running_inputs", "Sources being decoded", "model")
        self._batch_rows = self._histogram("dqbart_batch_rows", "Rows (sources times beams) of a step", ROWS, "model")
        self._cache_bytes = self._gauge(
            "dqbart_cache_bytes", "Most bytes that the caches of running sources may take", "model"
        )
        self._cache_limit = self._gauge("dqbart_cache_limit_bytes", "The ceiling of dqbart_cache_bytes", "model")
        self._longest_stall = self._gauge(
            "dqbart_longest_stall_seconds", "Longest wait for encoding between two decode steps", "model", merge="livemax"
        )

    def record_request(self, task: Task, model: str, protocol: str, outcome: str, seconds: float) -> None:
        """Count the end of a request."""
        self._requests.labels(task, model, protocol, outcome).inc()
        self._duration.labels(task, model, protocol).observe(seconds)

    def record_input(self, model: str, truncation: Literal["none", "end", "chunk"]) -> None:
        """Count an answered input, and what became of its length."""
        self._inputs.labels(model).inc()
        if truncation != "none":
            self._truncated.labels(model, truncation).inc()

    def record_window(self, model: str, source_tokens: int, result: Result) -> None:
        """Count an answered source: an input, or a window of one."""
        self._windows.labels(model).inc()
        self._queue_time.labels(model).observe(result.queue_seconds)
        self._source_tokens.labels(model).inc(source_tokens)
        self._generated_tokens.labels(model).inc(sum(len(sequence.token_ids) for sequence in result.sequences))

    def record_step(self, model: str, rows: int, stats: EngineStats) -> None:
        """Count a step of an engine, and set what it has to do after it. `rows` is 0 for a step that decoded nothing."""
        if rows:
            self._batch_rows.labels(model).observe(rows)
        self._queue_size.labels(model).set(stats.queued_requests)
        self._running.labels(model).set(stats.running_requests)
        self._cache_bytes.labels(model).set(stats.cache_bytes)
        self._cache_limit.labels(model).set(stats.max_cache_bytes)
        self._longest_stall.labels(model).set(stats.longest_stall_seconds)

    def page(self) -> bytes:
        """Every series of every replica, in the text format."""
        folder = os.environ.get(MULTIPROCESS_VARIABLE)
        if folder is None:
            return generate_latest(self._own)
        _forget_dead(Path(folder))
        merged = CollectorRegistry()
        MultiProcessCollector(merged, folder)  # type: ignore[no-untyped-call]
        return generate_latest(merged)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self._own)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, buckets=buckets, registry=self._own)

    def _gauge(self, name: str, meaning: str, *labels: str, merge: Literal["livesum", "livemax"] = "livesum") -> Gauge:
        # live: a replica that is gone has nothing to do.
        return Gauge(name, meaning, labels, registry=self._own, multiprocess_mode=merge)


def _forget_dead(folder: Path) -> None:
    for pid in {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
