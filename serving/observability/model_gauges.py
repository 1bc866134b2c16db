"""Gauges of the served models: what each is, and what its engine has to do now.

Models come and go while the service runs, and while one takes another's place, two of its name have engines. The gauges of a
name show the model that was shown last. prometheus_client cannot take back a series from the files that replicas share, so a
gauge that has nothing to tell any more is set to NaN, which the page leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Literal, Protocol

from prometheus_client import Gauge

if TYPE_CHECKING:
    from serving.engine.engine import EngineStats
    from serving.service.models import CheckedModel

Stats = Callable[[], "EngineStats"]


class NewGauge(Protocol):
    """Makes a gauge; `merge` is how the values of several replicas become one."""

    def __call__(self, name: str, meaning: str, *labels: str, merge: Literal["livesum", "livemax"] = "livesum") -> Gauge: ...


@dataclass
class _Watched:
    """A model whose engine is watched, and whether that is in memory."""

    model: CheckedModel
    stats: Stats
    loaded: bool = False
    load_seconds: float = math.nan


class ModelGauges:
    """May be used by any thread."""

    def __init__(self, gauge: NewGauge) -> None:
        self._size = gauge("dqbart_model_size_bytes", "Bytes of a model's weights", "model", merge="livemax")
        self._ratio = gauge(
            "dqbart_model_compression_ratio", "Bytes of its teacher's weights for each of its own", "model", merge="livemax"
        )
        self._info = gauge("dqbart_model_info", "What a model is", "model", "task", "scheme", "layers", merge="livemax")
        limit = "The ceiling of dqbart_cache_bytes of all models together"
        stall = "Longest wait for encoding between two decode steps"
        self._of_engine = {
            "queued_requests": gauge("dqbart_queue_size", "Sources waiting for their encoding", "model"),
            "running_requests": gauge("dqbart_running_inputs", "Sources being encoded or decoded", "model"),
            "cache_bytes": gauge("dqbart_cache_bytes", "Bytes that the caches of running sources take", "model"),
            "max_cache_bytes": gauge("dqbart_cache_limit_bytes", limit, "model"),
            "longest_stall_seconds": gauge("dqbart_longest_stall_seconds", stall, "model", merge="livemax"),
        }
        """Field of EngineStats → the gauge that shows it."""
        self._loaded = gauge("dqbart_model_loaded", "Replicas that have a model in memory", "model")
        self._load_seconds = gauge(
            "dqbart_model_load_seconds", "How long it took to load a model, the last time", "model", merge="livemax"
        )
        self._lock = Lock()
        self._opened: list[_Watched] = []
        self._shown: dict[str, CheckedModel] = {}

    def watch(self, model: CheckedModel, stats: Stats) -> Callable[[], None]:
        """Take note of a model's engine. What is returned shows what it has to do, once the model itself is shown."""

        def update() -> None:
            now = stats()
            with self._lock:
                if self._shown.get(model.name) is model:
                    self._show_stats(model.name, now)

        with self._lock:
            self._opened.append(_Watched(model, stats))
        return update

    def show_load(self, model: CheckedModel, seconds: float | None) -> None:
        """A model that is watched was loaded in so many seconds, or was unloaded."""
        with self._lock:
            for watched in self._opened:
                if watched.model is model:
                    watched.loaded = seconds is not None
                    watched.load_seconds = watched.load_seconds if seconds is None else seconds
                    if self._shown.get(model.name) is model:
                        self._show_one(watched)

    def show(self, models: Iterable[CheckedModel]) -> set[str]:
        """Show these, which are being watched, and no others; the names of those that are shown no longer."""
        with self._lock:
            wanted = {model.name: model for model in models}
            self._opened = [each for each in self._opened if wanted.get(each.model.name) is each.model]
            gone = self._shown.keys() - wanted.keys()
            for name, model in self._shown.items():
                if wanted.get(name) is not model:
                    self._info_of(model).set(math.nan)
            for name in gone:
                for gauge in (self._size, self._ratio, self._loaded, self._load_seconds, *self._of_engine.values()):
                    gauge.labels(name).set(math.nan)
            for watched in self._opened:
                model = watched.model
                self._info_of(model).set(1)
                self._size.labels(model.name).set(model.size_bytes)
                self._ratio.labels(model.name).set(model.compression_ratio)
                self._show_one(watched)
            self._shown = wanted
            return gone

    def _show_one(self, watched: _Watched) -> None:
        self._loaded.labels(watched.model.name).set(watched.loaded)
        self._load_seconds.labels(watched.model.name).set(watched.load_seconds)
        self._show_stats(watched.model.name, watched.stats())

    def _info_of(self, model: CheckedModel) -> Gauge:
        return self._info.labels(model.name, model.card.task, model.scheme, model.layers)

    def _show_stats(self, name: str, stats: EngineStats) -> None:
        for field, gauge in self._of_engine.items():
            gauge.labels(name).set(getattr(stats, field))
