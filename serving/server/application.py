"""The Ray Serve application: the same one for `dqbart serve` and for a cluster.

On a cluster, `build` is what a Serve config file names as `import_path: serving.server.application:build`. Its `args` are
the settings of `dqbart serve` by the same names. A change of them replaces the replicas one by one; a change of the
deployment's `user_config`, a ModelTable, reaches the running ones.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from ray.serve import Application
from ray.serve.schema import LoggingConfig

from serving.observability.metrics import MULTIPROCESS_VARIABLE
from serving.server.ingress import Ingress
from serving.server.model_table import ModelTable
from serving.server.settings import Serve
from serving.service.gate import MAX_OTHERS

REFUSED_REQUESTS = 200
"""Requests that a replica may hold at a time beside those that have a place: they are being refused."""

WAITING_REQUESTS = 1000
"""Requests that may wait until Ray hands them to the replica, whose loop is busy; Ray refuses more. By default it would let
all wait, and without an end where others stay."""

HEALTH_CHECK_SECONDS = 0.5
"""How often Ray asks a replica for its health. A process that is gone is noticed at once, a dead engine by this."""


def build(args: dict[str, Any]) -> Application:
    """The application by its settings. Models may be left to the config file's `user_config`."""
    settings = Serve(**args)
    named = settings.named_folders
    chosen = {task: name for task, name in settings.defaults.items() if name is not None}
    table = ModelTable(models=dict(named), defaults=chosen) if named else None
    return application(settings, table, str(Path(tempfile.gettempdir()) / f"dqbart-metrics-{os.getuid()}"))


def application(settings: Serve, table: ModelTable | None, metrics_folder: str) -> Application:
    """The application that serves `table`; replicas on one machine add up their metrics in its `metrics_folder`."""
    bound = (
        settings.limits,
        settings.engine,
        settings.threads_per_replica,
        settings.max_step_seconds,
        settings.runner,
        settings.replicas,
        (settings.host, settings.metrics_port) if settings.metrics_port else None,
        settings.residence,
        settings.gate,
        settings.logs,
        settings.otlp_endpoint,
    )
    environment = {MULTIPROCESS_VARIABLE: metrics_folder}
    deployment: Any = Ingress
    configured: Application = deployment.options(
        num_replicas=settings.replicas,
        # Ray's own limit must be above ours, which refuses with a better message instead of letting requests wait.
        max_ongoing_requests=settings.max_concurrent_requests + settings.max_watchers + MAX_OTHERS + REFUSED_REQUESTS,
        max_queued_requests=WAITING_REQUESTS,
        graceful_shutdown_timeout_s=settings.grace,
        health_check_period_s=HEALTH_CHECK_SECONDS,
        user_config=table.model_dump(mode="json") if table else None,
        # Threads are set by the replica itself; a share of Ray's CPUs would only limit the number of replicas.
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": environment}},
        logging_config=ray_logging(settings),
        # As for a config file: replicas are replaced when this has changed. By default they would be at each serve.run.
        version=hashlib.sha256(repr(bound).encode()).hexdigest(),
        _internal=True,
    ).bind(*bound)
    return configured


def ray_logging(settings: Serve) -> LoggingConfig:
    """How Ray Serve's proxies and replicas log."""
    return LoggingConfig(log_level=settings.log_level.upper(), enable_access_log=settings.log_level == "debug")
