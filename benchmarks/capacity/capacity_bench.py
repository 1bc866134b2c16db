"""Runs `dqbart bench capacity`: costs measured, the simulation checked against the service, then run to many replicas.

1. each model in an engine of its own process   ─► costs of encodings and steps, rows of each request
2. a server of one replica, then of more        ─► costs of the service; the same requests in the simulation: errors
3. simulations, one a core                      ─► replicas for each load, headroom, scaling
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from benchmarks.capacity.calibration import Calibration, calibrate
from benchmarks.capacity.costs import ServiceCosts
from benchmarks.capacity.planning import Answered, Headroom, Needs, Plan, Planner, Point, headroom_at, needs_at, points_at
from benchmarks.capacity.plot import write_capacity_plot
from benchmarks.capacity.replica import ReplicaSettings
from benchmarks.capacity.tables import (
    calibration_table,
    headroom_table,
    needs_table,
    one_replica_table,
    scaling_table,
    validation_table,
)
from benchmarks.capacity.validation import Compared, compare, loop_cost, service_costs
from benchmarks.commands import BenchCapacity
from benchmarks.service.load import Load, Outcome
from benchmarks.service.machine import busy, machine_facts
from benchmarks.service.null_model import NEW_TOKENS, TEXTS, write_null_model
from benchmarks.service.senders import Target, run_load
from benchmarks.service.server_process import Running, ServerFailed, running_server
from benchmarks.service.tables import facts_line
from benchmarks.service.works import PATHS, Work
from quant.artifact import ArtifactError
from quant.processors import available_processors
from serving.engine.runners import RunnerUnavailable
from serving.service.models import ModelError

NULL_MODEL = "null"
LIMITS = (0.1, 0.25, 1.0)
RATES = (10.0, 100.0, 1_000.0, 10_000.0)
HEADROOM_RATE = 1_000.0


class Pace(NamedTuple):
    """How long each part takes."""

    calibration: float
    """Seconds for each number of requests at a time."""
    alone: int
    """Requests, one at a time."""
    seconds: float
    """Of a load."""
    checked: tuple[float, ...]
    """Loads on the running service, as shares of what the simulation says it can do."""
    requests: int
    """Of a simulation."""
    replicas: tuple[int, ...]
    shares: tuple[float, ...]


FULL = Pace(1.0, 96, 6.0, (0.3, 0.6, 0.8), 10_000, (1, 2, 10, 100, 1_000), (0.3, 0.5, 0.7, 0.8, 0.9))
QUICK = Pace(0.2, 24, 2.0, (0.3, 0.6), 2_000, (1, 10, 100), (0.3, 0.8))


def run_bench_capacity(settings: BenchCapacity) -> int:
    """Returns the exit code: 0 done, 1 not."""
    console = Console(stderr=True)
    facts, warning = machine_facts(), busy()
    pace = QUICK if settings.quick else FULL
    try:
        with Progress(console=console, transient=True) as progress:
            folders = {folder.resolve().name: folder.resolve() for folder in settings.model_folders()}
            calibrations = _calibrations(settings, pace, folders, progress)
            services, compared = _checked(settings, pace, folders, calibrations, progress)
            plans = _plans(settings, pace, calibrations, services, progress)
    except (ArtifactError, ModelError, RunnerUnavailable, ServerFailed, OSError) as error:
        print(f"dqbart bench capacity: error: {error}", file=sys.stderr)
        return 1
    print(calibration_table(calibrations, services))
    print(validation_table(compared))
    print(one_replica_table(plans))
    print(needs_table(plans))
    print(headroom_table(plans))
    print(scaling_table(plans))
    print(f"Runner {', '.join(sorted({each.runner for each in calibrations}))}; {facts_line(facts)}")
    if warning is not None:
        console.print(warning, style="bold red", highlight=False)
    if settings.plot is not None:
        write_capacity_plot(settings.plot, plans)
    if settings.json_file is not None:
        everything = as_json(facts, calibrations, services, compared, plans)
        settings.json_file.write_text(json.dumps(everything, indent=2) + "\n")
    return 0


def as_json(
    facts: Mapping[str, str],
    calibrations: Sequence[Calibration],
    services: Mapping[str, ServiceCosts],
    compared: Sequence[Compared],
    plans: Mapping[str, Plan],
) -> dict[str, Any]:
    """For programs; seconds, and requests a second."""
    return {
        "machine": dict(facts),
        "models": {
            each.asked.model: {
                "encode": each.costs.encode.points,
                "decode": each.costs.decode.points,
                "service": services[each.asked.model]._asdict(),
                "most": plans[each.asked.model].most,
                "needs": [[needs.rate, needs.replicas] for needs in plans[each.asked.model].needs],
                "points": [
                    {"replicas": point.replicas, "share": point.share, **point.answered._asdict()}
                    for point in plans[each.asked.model].points
                ],
            }
            for each in calibrations
        },
        "checked": [
            {"model": each.model, "replicas": each.replicas, "rate": each.rate, **each.figures()} for each in compared
        ],
    }


def _calibrations(settings: BenchCapacity, pace: Pace, folders: Mapping[str, Path], progress: Progress) -> list[Calibration]:
    task = progress.add_task("calibrating", total=len(folders))
    calibrations = []
    for name, folder in folders.items():
        # A process for each: OpenMP and the kernels are set up once in a process, and memory is given back.
        with _processes(1) as process:
            engine = ReplicaSettings().engine
            arguments = (name, folder, settings.threads, settings.runner, engine, pace.calibration)
            calibrations.append(process.submit(calibrate, *arguments).result())
        progress.advance(task)
    progress.remove_task(task)
    return calibrations


def _checked(
    settings: BenchCapacity,
    pace: Pace,
    folders: Mapping[str, Path],
    calibrations: Sequence[Calibration],
    progress: Progress,
) -> tuple[dict[str, ServiceCosts], list[Compared]]:
    """What the service costs each model, found at one replica, and the simulation beside it at each number of them."""
    services: dict[str, ServiceCosts] = {}
    compared: list[Compared] = []
    task = progress.add_task("the running service", total=len(settings.checked_replicas) * len(folders))
    for replicas in sorted({1, *settings.checked_replicas}):
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dqbart-bench-")))
            models = {**folders, NULL_MODEL: write_null_model(scratch / NULL_MODEL)}
            flags = ("--replicas", str(replicas), "--threads", str(settings.threads), "--runner", settings.runner)
            server = stack.enter_context(running_server(models, scratch, *flags))
            client = stack.enter_context(_processes(1))
            if replicas == 1:
                services = _service_costs(pace, server, client, calibrations)
            for calibration in calibrations if replicas in settings.checked_replicas else ():
                compared += _compared(settings, pace, replicas, calibration, services, _sending(client, server, calibration))
                progress.advance(task)
    progress.remove_task(task)
    return services, sorted(compared, key=lambda each: list(folders).index(each.model))


def _service_costs(
    pace: Pace, server: Running, client: ProcessPoolExecutor, calibrations: Sequence[Calibration]
) -> dict[str, ServiceCosts]:
    null = Work("summarization", NULL_MODEL, TEXTS, max_new_tokens=NEW_TOKENS)
    target = Target("http", server.http, PATHS[null.task][0], null.over_http())
    cost = loop_cost(server.pid, lambda load: client.submit(run_load, target, load).result(), pace.seconds)
    return {each.asked.model: service_costs(each, cost, _sending(client, server, each), pace.alone) for each in calibrations}


def _compared(
    settings: BenchCapacity,
    pace: Pace,
    replicas: int,
    calibration: Calibration,
    services: Mapping[str, ServiceCosts],
    send: Callable[[Load], Outcome],
) -> list[Compared]:
    service = services[calibration.asked.model]
    cores = available_processors() // settings.threads
    # Every replica is asked once for each text before it counts.
    send(Load(1.0, clients=4 * replicas))
    most = replicas * Planner(calibration.costs, service, ReplicaSettings()).most()
    return [
        compare(calibration, service, ReplicaSettings(), replicas, cores, round(share * most, 1), send, pace.seconds)
        for share in pace.checked
    ]


def _plans(
    settings: BenchCapacity,
    pace: Pace,
    calibrations: Sequence[Calibration],
    services: Mapping[str, ServiceCosts],
    progress: Progress,
) -> dict[str, Plan]:
    """Simulations, as many at a time as there are cores."""
    with _processes(available_processors()) as pool:
        planners = {
            each.asked.model: Planner(
                each.costs, services[each.asked.model], ReplicaSettings(), pace.requests, settings.seed
            )
            for each in calibrations
        }
        points: dict[str, list[Future[list[Point]]]] = {}
        needs: dict[str, list[Future[Needs]]] = {}
        headroom: dict[str, Future[Headroom | None]] = {}
        ones: dict[str, Future[tuple[float, Answered, dict[float, float | None]]]] = {}
        for name, planner in planners.items():
            # The longest first.
            points[name] = [pool.submit(points_at, planner, each, pace.shares) for each in reversed(pace.replicas)]
            needs[name] = [pool.submit(needs_at, planner, rate, LIMITS) for rate in reversed(RATES)]
            headroom[name] = pool.submit(headroom_at, planner, HEADROOM_RATE, LIMITS)
            ones[name] = pool.submit(_one_replica, planner)
        task = progress.add_task("simulating", total=len(planners))
        plans = {}
        for name in planners:
            found = [future.result() for future in reversed(needs[name])]
            drawn = [point for future in reversed(points[name]) for point in future.result()]
            plans[name] = Plan(*ones[name].result(), found, headroom[name].result(), drawn)
            progress.advance(task)
        progress.remove_task(task)
    return plans


def _one_replica(planner: Planner) -> tuple[float, Answered, dict[float, float | None]]:
    return planner.most(), planner.alone(), {limit: planner.highest_rate(limit) for limit in LIMITS}


def _sending(client: ProcessPoolExecutor, server: Running, calibration: Calibration) -> Callable[[Load], Outcome]:
    asked = calibration.asked
    target = Target("http", server.http, asked.path, asked.over_http())
    return lambda load: client.submit(run_load, target, load).result()


def _processes(count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))
