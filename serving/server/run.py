"""`dqbart serve`: check the models, start Ray with one application, say how to ask, and stop without cutting anyone off.

Everything that can be wrong is found before Ray starts, which takes seconds. Ray is started for this server alone, without
dashboard and usage reports. Its processes find each other over ports of all interfaces, and take calls only with the token
that is made here. It takes such options from environment variables that it reads when it is imported: they are set first,
which is why ray is imported inside the functions.

SIGTERM to a process that runs Ray cuts off the requests in flight. Ours stops taking requests, gives those in flight the
grace period, and then takes Ray down.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
from rich.console import Console

import dqbart
from quant.artifact import is_artifact
from quant.card import Task
from serving.engine.runners import reason_against
from serving.engine.settings import EngineSettings
from serving.observability.metrics import MULTIPROCESS_VARIABLE
from serving.server.settings import Serve
from serving.server.startup_screen import print_startup_screen
from serving.service.models import CheckedModel, ModelError, check_model, default_models
from serving.service.service import Limits

APPLICATION = "dqbart"
SERVICERS = [
    "protos.dqbart.v1.seq2seq_pb2_grpc.add_Seq2SeqServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
]
OTHER_REQUESTS = 100
"""Requests besides those that generate (health, models, metrics, refused ones) that a replica may hold at a time."""

OBJECT_STORE_BYTES = 100 << 20
"""Ray's store for large values, which the service does not use; by default it would take 30 % of the memory."""


def serve_until_stopped(settings: Serve) -> None:
    """Serve until SIGINT or SIGTERM. Raises SystemExit with a message when it cannot start."""
    started = perf_counter()
    models, defaults = check(settings)
    check_ports(settings)
    limits = Limits(
        max_inputs=settings.max_inputs,
        max_source_characters=settings.max_source_characters,
        max_windows=settings.max_windows,
        max_rows=settings.max_batch_rows,
        request_timeout_seconds=settings.request_timeout,
    )
    set_ray_environment(limits)
    import ray
    from ray import serve

    stopped = threading.Event()
    with tempfile.TemporaryDirectory(prefix="dqbart-metrics-") as metrics_folder:
        try:
            start_ray(settings)
            # Ray has installed handlers of its own by now; from here on a signal during the start waits for its end.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stopped.set())
            start_proxies(settings)
            try:
                deploy(settings, limits, models, defaults, metrics_folder)
                url = wait_for_answer(settings)
                # A log is no terminal and has no width that lines would have to fit.
                console = Console(width=None if sys.stdout.isatty() else 120)
                print_startup_screen(console, settings, models, defaults, url, perf_counter() - started)
                stopped.wait()
                print("dqbart serve: stopping, requests in flight are finished first", file=sys.stderr)
            finally:
                serve.delete(APPLICATION)
        except KeyboardInterrupt:
            raise SystemExit(128 + signal.SIGINT) from None
        finally:
            ray.shutdown()


def check(settings: Serve) -> tuple[list[CheckedModel], dict[Task, str]]:
    """The models to serve and the default of each task. Raises SystemExit naming the setting at fault."""
    if reason := reason_against(settings.runner):
        raise SystemExit(f"runner = {settings.runner!r} cannot be used here: {reason}; auto takes the fastest that can")
    named = settings.named_folders or discovered()
    try:
        models = [check_model(name, folder.resolve(), settings.max_batch_rows) for name, folder in named]
    except ModelError as error:
        raise SystemExit(f"models: {error}") from error
    for task, name in settings.defaults.items():
        served = [model.name for model in models if model.card.task == task]
        if name is not None and name not in served:
            key = f"default_{task.replace('-', '_')}"
            raise SystemExit(f"{key} = {name!r}: no served model for {task}; there are: {', '.join(served) or 'none'}")
    return models, default_models(models, settings.defaults)


def discovered() -> list[tuple[str, Path]]:
    """The artifacts in ./models, else in models/ beside this source. Raises SystemExit when there is none."""
    places = list(dict.fromkeys(base / "models" for base in (Path.cwd(), Path(dqbart.__file__).resolve().parent)))
    for place in places:
        folders = sorted(folder for folder in place.glob("*") if is_artifact(folder))
        if folders:
            return [(folder.name, folder) for folder in folders]
    looked = " and ".join(map(str, places))
    raise SystemExit(f"models: no artifact in {looked}; name folders with --models, or make one with dqbart compress")


def check_ports(settings: Serve) -> None:
    """Raises SystemExit for an address that cannot be listened on."""
    for key, host, port in (("http_port", settings.host, settings.http_port), ("grpc_port", "0.0.0.0", settings.grpc_port)):
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as listener:
                # As servers do: a connection that is still closing does not count as use.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
        except socket.gaierror as error:
            raise SystemExit(f"host = {host!r}: {error.strerror}") from error
        except OSError as error:
            raise SystemExit(f"{key} = {port} on {host}: {error.strerror}") from error


def set_ray_environment(limits: Limits) -> None:
    """Set what Ray reads when it is imported, here and in its processes; what the environment already says stays."""
    chosen = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray's own token, or it would write one to the home folder, which may be read-only.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # By default a message may have 2 GiB.
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(limits.max_message_bytes),
        "RAY_SERVE_LOG_TO_STDERR": "1",
    }
    for name, value in chosen.items():
        os.environ.setdefault(name, value)
    # The replicas import these packages, also from a checkout that is not installed.
    root = str(Path(dqbart.__file__).resolve().parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))


def start_ray(settings: Serve) -> None:
    """Start Ray on this machine."""
    import ray

    # serve.run reports its progress at info, whatever the level of the processes that it starts.
    logging.getLogger("ray.serve").setLevel(settings.log_level.upper())
    ray.init(
        address="local",
        num_cpus=1,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=True,
        logging_level=settings.log_level.upper(),
    )


def start_proxies(settings: Serve) -> None:
    """Start the proxies through which HTTP and gRPC reach the replicas."""
    from ray import serve
    from ray.serve.config import HTTPOptions, gRPCOptions

    serve.start(
        http_options=HTTPOptions(host=settings.host, port=settings.http_port),
        grpc_options=gRPCOptions(port=settings.grpc_port, grpc_servicer_functions=SERVICERS if settings.grpc_port else []),
        logging_config=ray_logging(settings),
    )


def ray_logging(settings: Serve) -> Any:
    """The LoggingConfig of Ray Serve's proxies and replicas."""
    from ray.serve.schema import LoggingConfig

    return LoggingConfig(log_level=settings.log_level.upper(), enable_access_log=settings.log_level == "debug")


def deploy(
    settings: Serve,
    limits: Limits,
    models: Sequence[CheckedModel],
    defaults: dict[Task, str],
    metrics_folder: str,
) -> None:
    """Run the application, and return when every replica answers. Raises SystemExit when one cannot start."""
    from ray import serve

    from serving.server.ingress import Ingress

    engine_settings = EngineSettings(**{field.name: getattr(settings, field.name) for field in fields(EngineSettings)})
    # Ray's own limit must be above what the engines hold and queue: they refuse with a better message.
    held = len(models) * (settings.max_batch_rows + settings.max_queued_requests)
    deployment: Any = Ingress
    application = deployment.options(
        num_replicas=settings.replicas,
        max_ongoing_requests=held + OTHER_REQUESTS,
        graceful_shutdown_timeout_s=settings.grace,
        # Threads are set by the replica itself; a share of Ray's CPUs would only limit the number of replicas.
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": {MULTIPROCESS_VARIABLE: metrics_folder}}},
        logging_config=ray_logging(settings),
    ).bind(list(models), defaults, limits, engine_settings, settings.threads_per_replica, settings.runner)
    try:
        serve.run(application, name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        raise SystemExit(f"the application did not start: {error}") from error


def wait_for_answer(settings: Serve) -> str:
    """The URL at which HTTP answers. Raises SystemExit when it does not."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"
    try:
        httpx.get(f"{url}/healthz", timeout=30).raise_for_status()
    except httpx.HTTPError as error:
        raise SystemExit(f"the server was started, but {url}/healthz does not answer: {error}") from error
    return url
