"""Prometheus metrics of a run over HTTP, from its first step to its last: `GET http://HOST:PORT/metrics`.

The metrics have a registry of their own, so that two runs in one process, or a server beside a run, never mix. Counters
begin at 0 in every process, as Prometheus expects of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from compress.errors import CompressError
from compress.training.loop import StepReport


class MetricsPortError(CompressError):
    """A port that cannot be listened on."""


class Prometheus:
    """An observer that serves what it was told last."""

    def __init__(self, port: int, start: int, steps: int) -> None:
        """Listens on all addresses; port 0 takes a free one. Raises MetricsPortError."""
        registry = CollectorRegistry()

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(f"dqbart_training_{name}", meaning, labels, registry=registry)

        self._step = gauge("step", "Optimizer steps done")
        self._loss = gauge(
            "loss", "Mean of a term of the loss since the report before, unweighted; total is weighted", "term"
        )
        self._rate = gauge("learning_rate", "Learning rate of the next step")
        self._speed = gauge("tokens_per_second", "Source and target tokens a second since the report before, no padding")
        self._score = gauge("validation_score", "Score of the last validation", "metric")
        self._best_step = gauge("best_step", "Step of the best validation in this process")
        self._tokens = Counter(
            "dqbart_training_tokens", "Source and target tokens trained on, no padding", registry=registry
        )
        self._steps = gauge("steps", "Optimizer steps planned; an estimate where the time of the run is limited")
        self._steps.set(steps)
        self._step.set(start)
        try:
            self._server, self._thread = start_http_server(port, registry=registry)
        except OSError as error:
            raise MetricsPortError(f"metrics_port is {port}: {error.strerror or error}") from error

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def report(self, report: StepReport) -> None:
        self._step.set(report.step)
        self._steps.set(report.steps)
        for term, value in report.losses.items():
            self._loss.labels(term).set(value)
        self._rate.set(report.learning_rate)
        self._speed.set(report.tokens_per_second)
        self._tokens.inc(report.tokens)

    def validated(self, step: int, scores: Mapping[str, float], best: bool) -> None:
        for metric, value in scores.items():
            self._score.labels(metric).set(value)
        if best:
            self._best_step.set(step)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
