"""What is counted, in Prometheus' format, one page for all replicas of a node.

With PROMETHEUS_MULTIPROC_DIR each replica writes its values to files in that folder, and the page has those of all of them
(`replica_files`); without it there is one process, and the page is its own. Every label value comes from a closed set, so
that clients cannot make series: a model that is not served counts as `unknown`. docs/metrics.md explains each metric.
"""

from __future__ import annotations

import math
import os
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

from quant.card import Task
from serving.engine.request import Result
from serving.observability.model_gauges import ModelGauges
from serving.observability.processes import replica_metrics
from serving.observability.replica_files import ReplicaFiles
from serving.service.counting import UNKNOWN_MODEL
from serving.service.errors import ErrorCode

if TYPE_CHECKING:
    from serving.engine.engine import EngineStats
    from serving.engine.port import Step
    from serving.service.models import CheckedModel

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
TOKEN_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
STEP_SECONDS = (*TOKEN_SECONDS, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Metrics:
    """What is counted, and the page that shows it."""

    def __init__(self, desired_replicas: int = 1) -> None:
        folder = os.environ.get(MULTIPROCESS_VARIABLE)
        files = None if folder is None else ReplicaFiles(Path(folder))
        self._own = CollectorRegistry()
        self._make_request_metrics()
        self._make_model_metrics()
        self._model_gauges = ModelGauges(self._gauge)
        self._gauge("dqbart_build_info", "Version of dqbart", "version", merge="livemax").labels(_version()).set(1)
        self._gauge("dqbart_replicas_desired", "Replicas that should run", merge="livemax").set(desired_replicas)
        self._counter("dqbart_replica_starts_total", "Replicas started, those that have ended too").inc()
        self._show_failures(UNKNOWN_MODEL)
        self._lock = Lock()
        """Over what follows, and the gauges that show it."""
        self._removed: set[str] = set()
        """Models that were shown and are no longer."""
        self._ongoing: Counts[tuple[str, str, str]] = Counts()
        self.registry = CollectorRegistry(support_collectors_without_names=True)
        """All series of every replica of this node."""
        self.registry.register(_Page(self._own, files))

    def _make_request_metrics(self) -> None:
        per_request = ("task", "model", "protocol")
        self._requests = self._counter(
            "dqbart_requests_total", "Requests by how they ended: ok, cancelled, or an error code", *per_request, "outcome"
        )
        self._failures = self._counter("dqbart_request_failures_total", "Requests that ended in an error", "model", "code")
        self._duration = self._histogram(
            "dqbart_request_duration_seconds", "From a request's arrival to its end", SECONDS, *per_request
        )
        self._ongoing_requests = self._gauge("dqbart_ongoing_requests", "Requests that are being answered", *per_request)

    def _make_model_metrics(self) -> None:
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
        self._source_tokens = self._counter("dqbart_source_tokens_total", "Source tokens read", "model")
        self._generated_tokens = self._counter("dqbart_generated_tokens_total", "Tokens generated", "model")
        self._queue_time = self._histogram("dqbart_queue_seconds", "How long sources waited to be encoded", SECONDS, "model")
        self._encode_time = self._histogram("dqbart_encode_seconds", "Encoding of a source", SECONDS, "model")
        self._decode_time = self._histogram("dqbart_decode_seconds", "Decoding of a source", SECONDS, "model")
        self._first_token_time = self._histogram(
            "dqbart_time_to_first_token_seconds", "From a source's arrival in the queue to its first token", SECONDS, "model"
        )
        self._token_time = self._histogram(
            "dqbart_time_per_output_token_seconds", "For each token of a source after its first", TOKEN_SECONDS, "model"
        )
        self._times = (self._queue_time, self._encode_time, self._decode_time, self._first_token_time, self._token_time)
        self._batch_rows = self._histogram("dqbart_batch_rows", "Rows (sources times beams) of a step", ROWS, "model")
        self._set_back = self._counter(
            "dqbart_set_back_total", "Times that a running source gave way for want of cache memory", "model"
        )
        self._step_time = self._histogram(
            "dqbart_step_seconds", "A model's part of a turn: encoding and a decoding step", STEP_SECONDS, "model"
        )

    def watch(self, model: CheckedModel, stats: Callable[[], EngineStats]) -> Callable[[Step], None]:
        """What is to be told each step of a model's engine. `stats` is the engine's."""
        update = self._model_gauges.watch(model, stats)
        set_back = self._set_back.labels(model.name)
        counted = 0

        def record_step(step: Step) -> None:
            nonlocal counted
            if step.rows:
                self._batch_rows.labels(model.name).observe(step.rows)
            self._step_time.labels(model.name).observe(step.seconds)
            if more := stats().set_back_requests - counted:
                counted += more
                set_back.inc(more)
            update()

        return record_step

    def show_load(self, model: CheckedModel, seconds: float | None) -> None:
        """A model that is watched was loaded in so many seconds, or was unloaded."""
        self._model_gauges.show_load(model, seconds)

    def show_models(self, models: Sequence[CheckedModel]) -> None:
        """Show the gauges of the models that are served now, all of them watched, and zeros of what is not counted yet.

        The gauges of others are shown no longer; what was counted of them stays, and may still grow.
        """
        for model in models:
            self._show_zeros(model.name)
        gone = self._model_gauges.show(models)
        with self._lock:
            self._removed = (self._removed | gone) - {model.name for model in models}
            for _, name, _ in list(self._ongoing):
                self._show_ongoing(name)

    @contextmanager
    def ongoing(self, task: Task, model: str, protocol: str) -> Iterator[None]:
        """Count a request as being answered, as long as the context lasts."""
        labels = (task, model, protocol)
        self._count_ongoing(labels, 1)
        try:
            yield
        finally:
            self._count_ongoing(labels, -1)

    def record_request(self, task: Task, model: str, protocol: str, outcome: str, seconds: float) -> None:
        """Count the end of a request; `outcome` is ok, cancelled, or an error code."""
        self._requests.labels(task, model, protocol, outcome).inc()
        self._duration.labels(task, model, protocol).observe(seconds)
        if outcome not in ("ok", "cancelled"):
            self._failures.labels(model, outcome).inc()

    def record_input(self, model: str, truncation: Literal["none", "end", "chunk"]) -> None:
        """Count an answered input, and what became of its length."""
        self._inputs.labels(model).inc()
        if truncation != "none":
            self._truncated.labels(model, truncation).inc()

    def record_window(self, model: str, source_tokens: int, result: Result) -> None:
        """Count an answered source: an input, or a window of one."""
        self._windows.labels(model).inc()
        self._source_tokens.labels(model).inc(source_tokens)
        self._queue_time.labels(model).observe(result.queue_seconds)
        self._encode_time.labels(model).observe(result.encode_seconds)
        self._decode_time.labels(model).observe(result.decode_seconds)
        self._first_token_time.labels(model).observe(result.first_token_seconds)
        lengths = [len(sequence.token_ids) for sequence in result.sequences]
        self._generated_tokens.labels(model).inc(sum(lengths))
        if (longest := max(lengths)) > 1:
            seconds = result.queue_seconds + result.encode_seconds + result.decode_seconds - result.first_token_seconds
            self._token_time.labels(model).observe(seconds / (longest - 1))

    def page(self) -> bytes:
        """Every series of every replica of this node, in the text format."""
        return generate_latest(self.registry)

    def _show_zeros(self, model: str) -> None:
        for counter in (self._inputs, self._windows, self._source_tokens, self._generated_tokens, self._set_back):
            counter.labels(model)
        for histogram in (*self._times, self._batch_rows, self._step_time):
            histogram.labels(model)
        self._show_failures(model)

    def _show_failures(self, model: str) -> None:
        # From zero: a rate does not see the first failure of a series that begins with it.
        for code in ErrorCode:
            self._failures.labels(model, code)

    def _count_ongoing(self, labels: tuple[str, str, str], change: int) -> None:
        with self._lock:
            self._ongoing[labels] += change
            self._show_ongoing(labels[1])

    def _show_ongoing(self, model: str) -> None:
        for labels, count in self._ongoing.items():
            if labels[1] == model:
                self._ongoing_requests.labels(*labels).set(math.nan if model in self._removed else count)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self._own)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, buckets=buckets, registry=self._own)

    def _gauge(self, name: str, meaning: str, *labels: str, merge: Literal["livesum", "livemax"] = "livesum") -> Gauge:
        # live: a replica that is gone has nothing to do.
        return Gauge(name, meaning, labels, registry=self._own, multiprocess_mode=merge)


class _Page(Collector):
    """What all replicas counted, without the series that have nothing to tell, and their processes."""

    def __init__(self, own: CollectorRegistry, files: ReplicaFiles | None) -> None:
        self._own = own
        self._files = files

    def collect(self) -> Iterable[Metric]:
        metrics, pids = (self._own.collect(), [os.getpid()]) if self._files is None else self._files.read()
        for metric in sorted(metrics, key=lambda metric: metric.name):
            metric.samples = [sample for sample in metric.samples if not math.isnan(sample.value)]
            yield metric
        yield from replica_metrics(pids)


def _version() -> str:
    try:
        return version("dqbart")
    except PackageNotFoundError:
        return "checkout"
