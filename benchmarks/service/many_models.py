"""Runs `dqbart bench service --many-models`: many models of one server, beside a server that has one of them alone.

    one at a time   asked to one of them, after each of the others had a request and is idle
    busy together   so many requests at a time of each model; their throughputs' sum, beside that of one model at as many

Both servers have the default threads, or as many as are asked for, and are measured in turns. The models are copies of one
artifact that differ in their digests, so that each has weights of its own in memory; what one is asked, each is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress
from rich.table import Table

from benchmarks.service.commands import BenchService
from benchmarks.service.counting import Service
from benchmarks.service.figures import PERCENTILES, Rounds, entries_of
from benchmarks.service.load import Load, Outcome
from benchmarks.service.senders import Target, run_load
from benchmarks.service.server_process import Running, running_server
from benchmarks.service.works import PATHS, work_for
from quant.artifact import WEIGHTS_FILE
from quant.card import Card

CLIENTS = 8
"""Requests at a time of each model that is busy."""

ALONE, AMONG = "of one", "of all"
SHOWN = ("p50", "p99")
LEAST_SHARE, MOST_SLOWER = 0.95, 1.05
"""What the sum of throughputs should be at least, of one model's; and a median beside idle models at most, of that alone."""


class Compared(NamedTuple):
    """A load on many models, and the same on the model that is alone."""

    load: str
    models: int
    """That are asked."""
    alone: Rounds
    among: Rounds
    alone_cpu: float
    """Seconds of a core that the server's processes computed for a request."""
    among_cpu: float

    @property
    def ratio(self) -> float:
        """Of throughputs."""
        return self.among.throughput / self.alone.throughput

    @property
    def median_ratio(self) -> float:
        return self.among.median / self.alone.median


def compare_many_models(
    settings: BenchService, client: ProcessPoolExecutor, scratch: Path, progress: Progress
) -> list[Compared]:
    """Raises ArtifactError, ServerFailed, OSError."""
    folder = settings.model_folder().resolve()
    most = max(settings.many_models)
    models = {f"m{number}": copy_of(folder, scratch / f"m{number}", number) for number in range(most)}
    payloads = _payloads(folder, list(models), settings.texts)
    flags = ("--threads", str(settings.threads), "--runner", settings.runner)
    rounds, seconds = (2, min(3.0, settings.seconds)) if settings.quick else (settings.rounds, settings.seconds)
    requests = 20 if settings.quick else 100
    alone, among = scratch / "alone", scratch / "among"
    alone.mkdir()
    among.mkdir()
    task = progress.add_task("starting", total=None)
    with (
        running_server({"m0": models["m0"]}, alone, *flags) as one_server,
        running_server(models, among, *flags) as many_server,
    ):
        progress.remove_task(task)

        def asking(server: Running, asked: int) -> Service:
            target = Target("http", server.http, payloads.path, in_turns(payloads.of_models[:asked]))
            return Service(target, server.pid, lambda target, load: client.submit(run_load, target, load).result())

        by_itself, with_others = asking(one_server, 1), asking(many_server, 1)
        # Each of them has worked once, and its threads are there.
        asking(many_server, most).run(Load(0.0, 1, requests=most))
        one = Load(0.0, 1, requests=requests)
        idle = _in_turns(by_itself, with_others, one, one, rounds, "one at a time", progress)
        found = [Compared("1, the others idle", 1, *idle)]
        busy = Load(seconds, CLIENTS, warm_up=min(1.0, seconds))
        beside = _in_turns(by_itself, with_others, busy, busy, rounds, "busy, the others idle", progress)
        found.append(Compared(f"{CLIENTS}, the others idle", 1, *beside))
        for count in settings.many_models:
            load = busy._replace(clients=count * CLIENTS)
            pair = _in_turns(by_itself, asking(many_server, count), busy, load, rounds, f"{count} models busy", progress)
            found.append(Compared(f"{CLIENTS} of each", count, *pair))
    return found


def copy_of(folder: Path, copy: Path, number: int) -> Path:
    """The same artifact under another digest: where it says what it was made of, it says something else. Raises OSError."""
    shutil.copytree(folder, copy)
    weights = copy / WEIGHTS_FILE
    content = weights.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    digest = header["__metadata__"]["source_digest"]
    other = f"sha256:{sha256(f'{digest} {number}'.encode()).hexdigest()}"[: len(digest)].ljust(len(digest), "0")
    weights.write_bytes(content.replace(digest.encode(), other.encode(), 1))
    return copy


def in_turns(payloads: Sequence[Sequence[bytes]]) -> tuple[bytes, ...]:
    """Each model's requests, one of each model after the other."""
    return tuple(payload for together in zip(*payloads, strict=True) for payload in together)


class _Payloads(NamedTuple):
    path: str
    of_models: list[tuple[bytes, ...]]


def _payloads(folder: Path, names: Sequence[str], texts: Path | None) -> _Payloads:
    card = Card.from_dict(json.loads((folder / "config.json").read_text())["dqbart"])
    works = [work_for(name, card.task, card.language_pairs, texts) for name in names]
    return _Payloads(PATHS[card.task][0], [work.over_http() for work in works])


def _in_turns(
    alone: Service,
    among: Service,
    alone_load: Load,
    among_load: Load,
    rounds: int,
    name: str,
    progress: Progress,
) -> tuple[Rounds, Rounds, float, float]:
    task = progress.add_task(name, total=rounds)
    pairs = []
    for _ in range(rounds):
        pairs.append((alone.run_and_count(alone_load), among.run_and_count(among_load)))
        progress.advance(task)
    progress.remove_task(task)
    (one, one_cpu), (many, many_cpu) = (_together(side) for side in zip(*pairs, strict=True))
    return one, many, one_cpu, many_cpu


def _together(side: Sequence[tuple[Outcome, float]]) -> tuple[Rounds, float]:
    rounds = Rounds(tuple(outcome for outcome, _ in side))
    return rounds, sum(cpu for _, cpu in side) / max(1, len(rounds.latencies))


def many_models_table(compared: Sequence[Compared], loaded: int) -> Table:
    """What is asked of many models, and whether it is so."""
    title = f"{loaded} models in one server, beside a server of one"
    table = Table("requests at a time", title=title, title_justify="left")
    for heading in ("asked", "server", "requests/s", *(f"{name}, ms" for name in SHOWN), "processor, ms a request"):
        table.add_column(heading, justify="right")
    for heading in ("figure", "asked for", "", "failures"):
        table.add_column(heading)
    for each in compared:
        for side, rounds, cpu in ((ALONE, each.alone, each.alone_cpu), (AMONG, each.among, each.among_cpu)):
            verdict = _verdict(each) if side == AMONG else ("", "", "")
            seconds = [*(rounds.percentile(PERCENTILES[name]) for name in SHOWN), cpu]
            milliseconds = (f"{1e3 * value:.1f}" for value in seconds)
            failures = ", ".join(f"{count} {code}" for code, count in rounds.failures.items())
            asked = str(each.models if side == AMONG else 1)
            table.add_row(each.load, asked, side, f"{rounds.throughput:.1f}", *milliseconds, *verdict, failures)
        table.add_section()
    return table


def _verdict(compared: Compared) -> tuple[str, str, str]:
    if compared.load.startswith("1,"):
        slower = compared.median_ratio
        met = "met" if slower <= MOST_SLOWER else "missed"
        return f"median {slower:.2f}x", f"<= {MOST_SLOWER:g}x", met
    share = compared.ratio
    return f"{share:.0%} of one's", f">= {LEAST_SHARE:.0%}", "met" if share >= LEAST_SHARE else "missed"


def as_json(compared: Sequence[Compared]) -> list[dict[str, Any]]:
    """For programs; seconds, and requests a second."""
    return [
        {
            "load": each.load,
            "models_asked": each.models,
            "alone": entries_of(each.alone),
            "among": entries_of(each.among),
            "alone_cpu_seconds_of_a_request": each.alone_cpu,
            "among_cpu_seconds_of_a_request": each.among_cpu,
            "throughput_ratio": each.ratio,
            "median_ratio": each.median_ratio,
        }
        for each in compared
    ]
