"""Runs `dqbart bench service --peer`: our server with its default settings, and CTranslate2 int8 behind FastAPI, in turns.

    a client's process ─► dqbart serve                   HAProxy ─► replica ─► engine
    the same requests  ─► uvicorn, FastAPI, CTranslate2  batches gathered while its replicas are busy

For each model and search: the peer's best settings; then both sides by many clients, at the same rates, and at the rates
that a search for the highest within each limit asks for. One is measured while the other waits, turn by turn, with the same
arrivals. Both share the cores with the client, which costs the same on either side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress

from benchmarks.peer_service.application import Setup
from benchmarks.peer_service.cases import MODEL, Subject, subjects_of
from benchmarks.peer_service.figures import OURS, PEER, SIDES, Answers, Compared, Side
from benchmarks.peer_service.process import RunningPeer, running_peer
from benchmarks.peer_service.rates import RateSearch, Trial
from benchmarks.peer_service.settings import PeerSettings, best_settings
from benchmarks.service.commands import BenchService
from benchmarks.service.counting import Service
from benchmarks.service.load import Load, Outcome
from benchmarks.service.senders import Target, run_load
from benchmarks.service.server_process import Running, free_port, running_server

SHARES = (0.5, 0.8)
"""Rates at which latencies are compared, of the peer's throughput."""

QUICK_CLIENTS = 32

LEAST_RATE = 0.5
"""Requests a second: a peer so slow that none was answered in time has rates, too."""


class Pace(NamedTuple):
    """How long each part is measured."""

    trial_seconds: float
    """Many clients at a time, if they are answered sooner."""
    seconds: float
    """Requests that come at a rate, and no fewer than `requests` in as long as it takes, up to `most_seconds`."""
    requests: int
    most_seconds: float
    rounds: int
    """Of the same rates."""
    precision: float
    """Of the highest rates, as a share of them."""
    tries: int
    """Of the rate at which a search ends."""

    patience: float = 5.0
    """Seconds that requests are awaited at the end of a load, longer than the longest limit."""

    def load(self, rate: float, seed: int) -> Load:
        seconds = min(self.most_seconds, max(self.seconds, self.requests / rate))
        return Load(seconds, rate=rate, warm_up=min(1.0, seconds / 4), patience=self.patience, seed=seed)


FULL = Pace(5.0, 15.0, 300, 40.0, rounds=2, precision=0.06, tries=2)
QUICK = Pace(1.5, 2.0, 30, 4.0, rounds=1, precision=0.2, tries=1)


def compare_with_peer(
    settings: BenchService, client: ProcessPoolExecutor, scratch: Path, progress: Progress
) -> list[Compared]:
    """All cases. Raises ModelError, ArtifactError, ServerFailed, OSError."""
    pace = (QUICK if settings.quick else FULL)._replace(patience=max(settings.limits) / 1e3 + 0.5)

    def send(target: Target, load: Load) -> Outcome:
        return client.submit(run_load, target, load).result()

    compared: list[Compared] = []
    for subject in subjects_of(settings.model, settings.texts, settings.random_model, scratch):
        flags = ("--threads", str(settings.threads), "--runner", settings.runner)
        with running_server({MODEL: subject.model.folder}, scratch, *flags) as server:
            compared += _compare(subject, server, settings, pace, send, scratch, progress)
    return compared


def _compare(
    subject: Subject,
    server: Running,
    settings: BenchService,
    pace: Pace,
    send: Callable[[Target, Load], Outcome],
    scratch: Path,
    progress: Progress,
) -> Iterator[Compared]:
    cases = {case.name: case for case in subject.cases}
    clients = min(QUICK_CLIENTS, settings.clients) if settings.quick else settings.clients
    task = progress.add_task(f"{subject.name}: the peer's settings", total=None)

    def carried(tried: PeerSettings, names: Sequence[str]) -> dict[str, float]:
        with _peer(subject, tried, scratch) as peer:
            services = {name: Service(cases[name].at(peer.http), peer.pid, send) for name in names}
            return {name: service.carried(clients, pace.trial_seconds).throughput for name, service in services.items()}

    def waited(tried: PeerSettings, name: str, rate: float) -> float:
        with _peer(subject, tried, scratch) as peer:
            load = pace.load(rate, seed=0)
            return Trial(rate, Service(cases[name].at(peer.http), peer.pid, send).run(load)).p99

    tried = best_settings(list(cases), carried, waited, settings.threads, settings.quick)
    progress.remove_task(task)
    for name, case in cases.items():
        task = progress.add_task(name, total=None)
        with _peer(subject, tried[name].best, scratch) as peer:
            services = {
                OURS: Service(case.at(server.http), server.pid, send),
                PEER: Service(case.at(peer.http), peer.pid, send),
            }
            limits = tuple(limit / 1e3 for limit in settings.limits)
            sides = measured(services, clients, limits, pace)
        progress.remove_task(task)
        yield Compared(name, sides, tried[name], limits)


def measured(services: dict[str, Service], clients: int, limits: Sequence[float], pace: Pace) -> dict[str, Side]:
    answers = {side: ask_all(service.target) for side, service in services.items()}
    carried = {side: service.carried(clients, pace.trial_seconds) for side, service in services.items()}
    searches = {side: RateSearch(limits, carried[side].throughput, pace.precision, pace.tries) for side in SIDES}
    at_rates: dict[str, dict[float, Trial]] = {side: {} for side in SIDES}
    computed, sent, seconds = (dict.fromkeys(SIDES, 0.0) for _ in range(3))
    for rate in (max(LEAST_RATE, share * carried[PEER].throughput) for share in SHARES):
        outcomes: dict[str, list[Outcome]] = {side: [] for side in SIDES}
        for seed in range(pace.rounds):
            for side, service in services.items():
                outcome, cpu = service.run_and_count(pace.load(rate, seed))
                computed[side] += cpu
                sent[side] += outcome.cpu_seconds
                seconds[side] += outcome.seconds
                outcomes[side].append(outcome)
        for side in SIDES:
            at_rates[side][rate] = Trial(rate, pooled(outcomes[side]))
            searches[side].record(at_rates[side][rate])
    _search(services, searches, pace)
    return {
        side: Side(
            answers[side],
            carried[side],
            searches[side],
            at_rates[side],
            computed[side],
            sent[side] / seconds[side],
        )
        for side in SIDES
    }


def _search(services: dict[str, Service], searches: dict[str, RateSearch], pace: Pace) -> None:
    """In turns, until the highest rates of both sides are known."""
    seed = pace.rounds
    trying = True
    while trying:
        # Each side has its turn, whether or not the other one is done.
        tried = [_try(services[side], searches[side], pace, seed) for side in SIDES]
        trying, seed = any(tried), seed + 1


def _try(service: Service, search: RateSearch, pace: Pace, seed: int) -> bool:
    """Whether there was anything left to try."""
    rate = search.next_rate()
    if rate is not None:
        search.record(Trial(rate, service.run(pace.load(rate, seed))))
    return rate is not None


def pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """Rounds of one load as one that was as long as all of them."""
    codes: dict[str, int] = {}
    for outcome in outcomes:
        for code, count in outcome.codes.items():
            codes[code] = codes.get(code, 0) + count
    latencies = tuple(latency for outcome in outcomes for latency in outcome.latencies)
    return Outcome(
        latencies, codes, sum(outcome.seconds for outcome in outcomes), sum(outcome.cpu_seconds for outcome in outcomes)
    )


def ask_all(target: Target) -> Answers:
    """Each text once, one after the other. Raises OSError, also for what is no answer."""
    results = []
    with closing(HTTPConnection(target.address)) as connection:
        for payload in target.payloads:
            connection.request("POST", target.path, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            body = response.read()
            if response.status != HTTPStatus.OK:
                told = body.decode(errors="replace")
                raise OSError(f"{target.address}{target.path} answered {response.status}: {told}")
            (result,) = json.loads(body)["results"]
            results.append(result)
    return Answers(tuple(result["text"] for result in results), tuple(result["generated_tokens"] for result in results))


@contextmanager
def _peer(subject: Subject, tried: PeerSettings, scratch: Path) -> Iterator[RunningPeer]:
    setup = Setup(
        artifact=subject.model.folder,
        converted=subject.converted,
        vocab_size=subject.model.vocab_size,
        defaults=subject.search_defaults(),
        replicas=tried.replicas,
        threads=tried.threads,
        max_batch=tried.max_batch,
        wait_seconds=tried.wait_seconds,
        workers=tried.workers,
        port=free_port(),
    )
    with running_peer(setup, tried.environment, scratch) as peer:
        yield peer
