"""Runs `dqbart bench service`: what a service adds to its engine, and how latency grows with the rate of requests.

    requests by a client's process ─►  the server, HTTP or gRPC  ─► engine     in turns with
    the same requests, as token ids, in an engine's process      ─► engine     with as many threads

1. One request at a time: the median beside the engine's, in alternating rounds.
2. So many clients at a time: throughput beside the engine's at the same concurrency, in alternating rounds.
3. A model that costs nothing, by many clients: what the service itself can carry.
4. Requests at given rates: percentiles of latency from the time at which they were due.

Against a server that runs already there is no engine beside it, and 3 and the ratios are left out. Two comparisons run
instead of all that where they are asked for: many models (many_models.py), and a peer (../peer_service/).
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.service.bare_engine import load_bare_engine, run_engine_load
from benchmarks.service.commands import BenchService
from benchmarks.service.figures import ENGINE, Claim, Figures, Point, Rounds
from benchmarks.service.load import Load, Outcome
from benchmarks.service.machine import busy, machine_facts
from benchmarks.service.null_model import NEW_TOKENS, TEXTS, write_null_model
from benchmarks.service.plot import write_latency_plot
from benchmarks.service.running import WrongServer, listed_model
from benchmarks.service.senders import Protocol, Target, run_load
from benchmarks.service.server_process import ServerFailed, running_server
from benchmarks.service.tables import claims_table, facts_line, load_table, rates_table
from benchmarks.service.works import PATHS, Work, work_for
from quant.artifact import ArtifactError
from serving.service.models import ModelError, check_model

MODEL, NULL_MODEL = "measured", "null"
NULL_CLIENTS = 32
SHARES = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
"""Rates of 4, of the throughput found in 2."""
WIDTH = 140


class Pace(NamedTuple):
    """How long each part is measured."""

    requests: int
    """One at a time, in a round."""
    latency_rounds: int
    rounds: int
    seconds: float
    shares: tuple[float, ...]


def pace_of(settings: BenchService) -> Pace:
    if settings.quick:
        return Pace(20, 2, 1, min(2.0, settings.seconds), (0.4, 0.8))
    return Pace(40, 8, settings.rounds, settings.seconds, SHARES)


def run_bench_service(settings: BenchService) -> int:
    """Returns the exit code: 0 measured, 1 not; whether claims are met is in the table."""
    console = Console()
    console = console if console.width >= WIDTH else Console(width=WIDTH)
    facts, warning = machine_facts(), busy()
    try:
        with tempfile.TemporaryDirectory(prefix="dqbart-bench-") as scratch, ExitStack() as stack:
            progress = stack.enter_context(Progress(console=console, transient=True))
            show, found = _measured(settings, Path(scratch), stack, progress)
    except (ArtifactError, ModelError, ServerFailed, WrongServer, OSError) as error:
        print(f"dqbart bench service: error: {error}", file=sys.stderr)
        return 1
    for table in show:
        console.print(table)
    console.print(facts_line(facts), highlight=False)
    if warning is not None:
        console.print(warning, style="bold red", highlight=False)
    if settings.json_file is not None:
        settings.json_file.write_text(json.dumps({"machine": facts, **found}, indent=2) + "\n")
    return 0


def _measured(
    settings: BenchService, scratch: Path, stack: ExitStack, progress: Progress
) -> tuple[list[Table], dict[str, Any]]:
    """What is asked for, as tables and for programs."""
    if settings.peer:
        from benchmarks.peer_service.peer_bench import compare_with_peer
        from benchmarks.peer_service.tables import peer_tables

        compared = compare_with_peer(settings, stack.enter_context(own_process()), scratch, progress)
        return peer_tables(compared), {"peer": [each.as_json() for each in compared]}
    if settings.many_models:
        from benchmarks.service.many_models import as_json, compare_many_models, many_models_table

        many = compare_many_models(settings, stack.enter_context(own_process()), scratch, progress)
        return [many_models_table(many, max(settings.many_models))], {"many_models": as_json(many)}
    if settings.url is None and settings.server is None:
        figures = _started(settings, scratch, stack, progress)
    else:
        figures = _beside_nothing(settings, stack, progress)
    if settings.plot is not None:
        write_latency_plot(settings.plot, figures.points, figures.model)
    claims = [claims_table(figures.claims)] if figures.claims else []
    return [*claims, load_table(figures), rates_table(figures.points)], figures.as_json()


def _started(settings: BenchService, scratch: Path, stack: ExitStack, progress: Progress) -> Figures:
    """A server of the model and of the null model, and an engine beside it."""
    folder = settings.model_folder().resolve()
    checked = check_model(MODEL, folder, 64)
    work = work_for(MODEL, checked.card.task, checked.card.language_pairs, settings.texts)
    null = Work("summarization", NULL_MODEL, TEXTS, max_new_tokens=NEW_TOKENS)
    task = progress.add_task("starting", total=None)
    models = {MODEL: folder, NULL_MODEL: write_null_model(scratch / NULL_MODEL)}
    flags = ("--threads", str(settings.threads), "--runner", settings.runner)
    server = stack.enter_context(running_server(models, scratch, *flags))
    engine = stack.enter_context(
        own_process(initializer=load_bare_engine, initargs=(folder, work, settings.threads, settings.runner))
    )
    client = stack.enter_context(own_process())
    progress.remove_task(task)
    addresses: dict[Protocol, str] = {"http": server.http, "grpc": server.grpc}

    def over(protocol: Protocol, work: Work) -> Callable[[Load], Outcome]:
        return _sending(client, _target(protocol, addresses[protocol], work, None))

    protocols = settings.protocols
    sides: dict[str, Callable[[Load], Outcome]] = {ENGINE: lambda load: engine.submit(run_engine_load, load).result()}
    sides |= {protocol: over(protocol, work) for protocol in protocols}
    pace = pace_of(settings)
    alone, many = _loops(settings, pace, sides, progress)
    empty = _rounds(
        {protocol: over(protocol, null) for protocol in protocols},
        Load(pace.seconds, NULL_CLIENTS),
        pace.rounds,
        "a null model",
        progress,
    )
    points = _points(settings, pace, sides, many, progress)
    claims = [claim for protocol in protocols for claim in _claims(settings, protocol, alone, many, empty)]
    return Figures(folder.name, alone, many, empty, points, claims)


def _beside_nothing(settings: BenchService, stack: ExitStack, progress: Progress) -> Figures:
    """A server that runs already."""
    key = None if settings.api_key is None else settings.api_key.get_secret_value()
    model = listed_model(settings.url, settings.server, key, settings.served_model)
    work = work_for(model.name, model.task, model.languages, settings.texts)
    client = stack.enter_context(own_process())
    sides: dict[str, Callable[[Load], Outcome]] = {
        protocol: _sending(client, _target(protocol, address, work, key))
        for protocol, address in settings.addresses().items()
    }
    pace = pace_of(settings)
    alone, many = _loops(settings, pace, sides, progress)
    return Figures(model.name, alone, many, {}, _points(settings, pace, sides, many, progress), [])


def _loops(
    settings: BenchService, pace: Pace, sides: dict[str, Callable[[Load], Outcome]], progress: Progress
) -> tuple[dict[str, Rounds], dict[str, Rounds]]:
    """One request at a time, and many."""
    one = Load(0.0, 1, requests=pace.requests)
    alone = _rounds(sides, one, pace.latency_rounds, "one at a time", progress)
    several = Load(pace.seconds, settings.clients, warm_up=min(1.0, pace.seconds))
    return alone, _rounds(sides, several, pace.rounds, f"{settings.clients} at a time", progress)


def _rounds(
    sides: dict[str, Callable[[Load], Outcome]], load: Load, rounds: int, name: str, progress: Progress
) -> dict[str, Rounds]:
    """All sides in turns. The first turn of each is short, and does not count."""
    task = progress.add_task(name, total=rounds)
    outcomes: dict[str, list[Outcome]] = {side: [] for side in sides}
    for run in sides.values():
        run(load._replace(seconds=min(load.seconds, 0.5), warm_up=0.0))
    for _ in range(rounds):
        for side, run in sides.items():
            outcomes[side].append(run(load))
        progress.advance(task)
    progress.remove_task(task)
    return {side: Rounds(tuple(each)) for side, each in outcomes.items()}


def _points(
    settings: BenchService,
    pace: Pace,
    sides: dict[str, Callable[[Load], Outcome]],
    many: dict[str, Rounds],
    progress: Progress,
) -> list[Point]:
    """Latency at each rate; the rates of all protocols are the same."""
    protocols = [side for side in sides if side != ENGINE]
    most = max(many[protocol].throughput for protocol in protocols)
    rates = settings.rates or [round(share * most, 1) for share in pace.shares]
    task = progress.add_task("rates", total=len(rates) * len(protocols))
    points = []
    for rate in rates:
        for protocol in protocols:
            points.append(Point(protocol, rate, sides[protocol](Load(pace.seconds, rate=rate))))
            progress.advance(task)
    progress.remove_task(task)
    return points


def _claims(
    settings: BenchService,
    protocol: Protocol,
    alone: dict[str, Rounds],
    many: dict[str, Rounds],
    empty: dict[str, Rounds],
) -> list[Claim]:
    service, engine = 1e3 * alone[protocol].median, 1e3 * alone[ENGINE].median
    added = Claim("added to the median, one at a time, ms", protocol, engine, service, service - engine, "<=", 6.0)
    service, engine = many[protocol].throughput, many[ENGINE].throughput
    share = Claim(
        f"requests/s, {settings.clients} at a time, as a share", protocol, engine, service, service / engine, ">=", 0.85
    )
    carried = empty[protocol].throughput
    return [added, share, Claim("requests/s of a null model", protocol, None, carried, carried, ">=", 500.0)]


def _target(protocol: Protocol, address: str, work: Work, api_key: str | None) -> Target:
    http, grpc = PATHS[work.task]
    if protocol == "http":
        return Target(protocol, address, http, work.over_http(), api_key)
    return Target(protocol, address, grpc, work.over_grpc(), api_key)


def _sending(client: ProcessPoolExecutor, target: Target) -> Callable[[Load], Outcome]:
    return lambda load: client.submit(run_load, target, load).result()


def own_process(**arguments: Any) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), **arguments)
