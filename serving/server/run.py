"""`dqbart serve`: check the models, start Ray with one application, say how to ask, and stop without cutting anyone off.

Everything that can be wrong is found before Ray starts, which takes seconds. Ray is started for this server alone, without
dashboard and usage reports. Its processes find each other over ports of all interfaces, and take calls only with the token
that is made here. It takes such options from environment variables that it reads when it is imported: they are set first,
which is why ray, and what imports it, is imported inside the functions.

SIGTERM to a process that runs Ray cuts off the requests in flight. Ours stops taking requests, gives those in flight the
grace period, and then ends Ray's processes with its own, for they have nothing left to do.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, NoReturn

import httpx
from pydantic import ValidationError
from rich.console import Console

from dqbart import ROOT
from dqbart.cli import describe
from quant.artifact import is_artifact
from quant.card import Task
from serving.engine.runners import prepare, reason_against
from serving.observability.logs import configure_output
from serving.observability.traces import missing_exporter, traces_wanted
from serving.server.model_table import ModelTable
from serving.server.ports import take_ports
from serving.server.processes import (
    RAYS_CENTRE,
    adopt_orphans,
    end_process,
    end_process_after,
    kill_descendants,
    remove_at_end,
    runs_below,
)
from serving.server.ray_environment import haproxy_binary, set_ray_environment
from serving.server.settings import Serve
from serving.server.signals import Signals
from serving.server.startup_screen import print_startup_screen
from serving.service.models import CheckedModel, ModelError, check_model, default_models

if TYPE_CHECKING:
    from serving.server.operations import Operations

SERVICERS = [
    "serving.rpc.servicers.add_seq2seq",
    "serving.rpc.servicers.add_health",
]
ANSWER_SECONDS = 30

FAILED = 2
"""Exit code of a server that could not start."""

SHUT_DOWN_SECONDS = 15.0
"""For Ray to answer, beyond the grace period; it is killed then. Where one of its processes has gone before, it would take a
minute to notice."""

OBJECT_STORE_BYTES = 100 << 20
"""Ray's store for large values, which the service does not use; by default it would take 30 % of the memory."""


def serve_until_stopped(settings: Serve, read_again: Callable[[], Serve], signals: Signals) -> NoReturn:
    """Serve until SIGINT or SIGTERM, and on SIGHUP the models of the settings as they are then; then end the process.

    Raises SystemExit with a message when it cannot start.
    """
    started = perf_counter()
    configure_output(settings.logs)
    models, defaults = check(settings)
    take_ports(settings)
    binary = haproxy_binary(settings.proxy)
    adopt_orphans()
    # HAProxy's socket is in it, whose path may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="dqbart-", dir="/tmp" if binary else None))
    remove_at_end(folder)
    try:
        metrics_folder = folder / "metrics"
        metrics_folder.mkdir()
        set_ray_environment(settings.max_payload_bytes, binary, folder)
        operations = start(settings, str(metrics_folder), ModelTable.of(models, defaults))
        url = wait_for_answer(settings)
        # A log is no terminal and has no width that lines would have to fit.
        console = Console(width=None if sys.stdout.isatty() else 120)
        if settings.log_format == "console":
            print_startup_screen(console, settings, models, defaults, url, perf_counter() - started)
        else:
            print(f"Ready after {perf_counter() - started:.1f} s at {url}")
        signals.serving = True
        while signals.wish() == "reload":
            exchange_models(operations, settings, read_again)
        end_process_after(settings.grace + SHUT_DOWN_SECONDS, 0)
        _say("stopping, requests in flight are finished first")
        if left := operations.drain(settings.grace):
            _say(f"{left} requests were not finished within {settings.grace:g} seconds, and are cut off")
        operations.close_ports()
    except BaseException:
        signals.hold_if_ending()
        # Also for the interpreter's end, at which Ray may wait for what has gone.
        end_process_after(SHUT_DOWN_SECONDS, FAILED)
        shut_down()
        raise
    end_process(0)


def start(settings: Serve, metrics_folder: str, table: ModelTable) -> Operations:
    """Start Ray, the proxies and the application."""
    from serving.server.operations import Operations

    try:
        start_ray(settings)
        start_proxies(settings)
    except Exception as error:
        raise SystemExit(f"Ray did not start: {error}") from error
    operations = Operations(settings, metrics_folder)
    operations.deploy(table)
    return operations


def shut_down() -> None:
    """Take Ray down, and whatever else is left."""
    import ray

    try:
        if runs_below(RAYS_CENTRE):
            ray.shutdown()
    finally:
        kill_descendants()


def exchange_models(operations: Operations, settings: Serve, read_again: Callable[[], Serve]) -> None:
    """Serve the models of the settings as they are now. A fault is told, and the models stay as they are."""
    try:
        now = read_again()
        table = ModelTable.of(*check(now))
        if others := changed_settings(settings, now):
            _say(f"{', '.join(others)}: changed, but only at the next start")
        if table == operations.table:
            _say("the models are as they were")
            return
        operations.exchange(table)
    except (SystemExit, ValueError, OSError, RuntimeError) as error:
        message = describe(error, Serve) if isinstance(error, ValidationError) else error
        _say(f"error: {message}\nthe models stay as they were")
    else:
        _say(f"now serving {', '.join(table.models)}")


def changed_settings(old: Serve, new: Serve) -> list[str]:
    """Names of settings with other values, those of models left out."""
    live = {"models", *(f"default_{task.replace('-', '_')}" for task in old.defaults)}
    return [name for name in type(old).model_fields if name not in live and getattr(old, name) != getattr(new, name)]


def _say(message: str) -> None:
    print(f"dqbart serve: {message}", file=sys.stderr, flush=True)


def check(settings: Serve) -> tuple[list[CheckedModel], dict[Task, str]]:
    """The models to serve and the default of each task. Raises SystemExit naming the setting at fault."""
    if traces_wanted(settings.otlp_endpoint) and (missing := missing_exporter()):
        raise SystemExit(f"otlp_endpoint: {missing}")
    if reason := reason_against(settings.runner):
        raise SystemExit(f"runner = {settings.runner!r} cannot be used here: {reason}; auto takes the fastest that can")
    named = settings.named_folders or discovered()
    try:
        # Each is read once, here: what the engines map is left for them.
        look = partial(prepare, settings=settings.engine, name=settings.runner)
        models = [check_model(name, folder.resolve(), settings.max_batch_rows, look) for name, folder in named]
        for model in models:
            settings.residence.check(model.name, model.size_bytes)
    except ModelError as error:
        raise SystemExit(f"models: {error}") from error
    try:
        return models, default_models(models, settings.defaults)
    except ModelError as error:
        raise SystemExit(str(error)) from error


def discovered() -> list[tuple[str, Path]]:
    """The artifacts in ./models, else in models/ beside this source. Raises SystemExit when there is none."""
    places = list(dict.fromkeys(base / "models" for base in (Path.cwd(), ROOT)))
    for place in places:
        folders = sorted(folder for folder in place.glob("*") if is_artifact(folder))
        if folders:
            return [(folder.name, folder) for folder in folders]
    looked = " and ".join(map(str, places))
    raise SystemExit(f"models: no artifact in {looked}; name folders with --models, or make one with dqbart compress")


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

    from serving.server.application import ray_logging

    serve.start(
        http_options=HTTPOptions(host=settings.host, port=settings.http_port),
        grpc_options=gRPCOptions(
            port=settings.grpc_port,
            grpc_servicer_functions=SERVICERS if settings.grpc_port else [],
            # Ray answers it, and asks for no key.
            enable_reflection=not settings.keys(),
        ),
        logging_config=ray_logging(settings),
    )


def wait_for_answer(settings: Serve) -> str:
    """The URL at which HTTP answers. Raises SystemExit when it does not."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"
    deadline = monotonic() + ANSWER_SECONDS
    while True:
        try:
            answer = httpx.get(f"{url}/healthz", timeout=ANSWER_SECONDS)
            # Health may need a key, which is not known here.
            if answer.status_code != HTTPStatus.UNAUTHORIZED:
                answer.raise_for_status()
            return url
        except httpx.HTTPError as error:
            # HAProxy may not know yet that the replicas answer.
            if monotonic() > deadline:
                raise SystemExit(f"the server was started, but {url}/healthz does not answer: {error}") from error
            sleep(0.05)
