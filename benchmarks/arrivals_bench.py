"""Runs `dqbart bench arrivals`: how many times as many requests continuous batching serves at the same tail
latency.

1. Capacity: the throughput of continuous batching with everything queued.
2. Continuous batching at 80 % of it; its 99th percentile of latency is the limit.
3. Static batching with each of its settings: the highest rate at which its 99th percentile is within that limit, by
   bisection. The best setting counts, and the ratio is that of the two rates.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.arrivals import Load, Outcome, StaticPolicy, continuous, draw_load, highest_rate, static
from benchmarks.commands import BenchArrivals
from benchmarks.students import student_folder
from quant.artifact import ArtifactError, read_artifact
from serving.engine.engine import Engine
from serving.engine.runner import Runner
from serving.engine.runners import RunnerUnavailable, runner_for
from serving.engine.settings import EngineSettings
from serving.engine.threads import set_threads

SHARE_OF_CAPACITY = 0.8
STATIC_ROWS = (8, 16, 32, 64)
HALVINGS = 5
"""Of the interval from 0 to capacity, so that a rate is found to about 3 % of capacity."""
AT_ONCE = math.inf
WIDTH = 140


class Static(NamedTuple):
    """Static batching under one limit of rows; rates in requests a second."""

    policy: StaticPolicy
    capacity: float
    rate: float
    """The highest at which its tail latency is within continuous batching's; 0 where none was found."""
    outcome: Outcome
    """At continuous batching's rate."""


class Comparison(NamedTuple):
    """One seed's runs; rates in requests a second."""

    seed: int
    capacity: float
    continuous: Outcome
    statics: list[Static]

    @property
    def rate(self) -> float:
        return SHARE_OF_CAPACITY * self.capacity

    @property
    def ratio(self) -> float:
        """Against static batching at its best limit."""
        best = max(each.rate for each in self.statics)
        return self.rate / best if best else math.inf


def run_bench_arrivals(settings: BenchArrivals) -> int:
    """Returns the exit code: 0 measured, 1 not."""
    set_threads(settings.threads)
    console = Console()
    console = console if console.width >= WIDTH else Console(width=WIDTH)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = student_folder(settings.artifact, settings.layers, settings.bits, Path(scratch))
            limits = EngineSettings(max_batch_rows=max(settings.rows, *STATIC_ROWS))
            runner = runner_for(read_artifact(folder), limits, settings.runner)
    except (ArtifactError, RunnerUnavailable) as error:
        print(f"dqbart bench arrivals: error: {error}", file=sys.stderr)
        return 1
    with Progress(console=console, transient=True) as progress:
        compared = [_compare(settings, runner, seed, progress) for seed in settings.seeds]
    console.print(comparison_table(compared))
    ratio = statistics.median(each.ratio for each in compared)
    console.print(
        f"{folder.name}: {settings.requests} requests a seed, at most {settings.rows} rows, {settings.threads} threads, "
        f"static batching with ended rows {settings.ended_rows}; "
        f"at the same p99 latency, continuous batching serves {ratio:.2f}x the requests (median of the seeds)"
    )
    if settings.json_file is not None:
        settings.json_file.write_text(json.dumps([_figures(each) for each in compared], indent=2) + "\n")
    return 0


def _compare(settings: BenchArrivals, runner: Runner, seed: int, progress: Progress) -> Comparison:
    architecture = runner.architecture
    load = draw_load(
        seed,
        settings.requests,
        settings.beams,
        architecture.vocab_size,
        architecture.start_token_id,
        architecture.eos_token_id,
        architecture.max_position_embeddings,
    )
    task = progress.add_task(f"seed {seed}", total=3 + len(STATIC_ROWS))
    queue = EngineSettings(max_batch_rows=settings.rows, max_queued_requests=settings.requests)
    # Nothing is being decoded while a static batch is encoded, so that nothing need wait for it.
    whole = EngineSettings(
        max_batch_rows=max(STATIC_ROWS), max_queued_requests=settings.requests, encode_tokens_per_step=1 << 30
    )

    def engine(limits: EngineSettings) -> Engine:
        runner.clear()
        return Engine(runner, limits)

    continuous(engine(queue), Load(load.requests[:8], load.gaps[:8]), AT_ONCE)  # buffers and kernels are made
    progress.advance(task)
    capacity = continuous(engine(queue), load, AT_ONCE).throughput
    progress.advance(task)
    served = continuous(engine(queue), load, SHARE_OF_CAPACITY * capacity)
    limit = served.percentile(0.99)
    progress.console.print(f"seed {seed}, continuous: capacity {capacity:.2f}/s; p99 {limit:.2f} s", highlight=False)
    progress.advance(task)

    def statically(rate: float, policy: StaticPolicy, limited: bool) -> Outcome | None:
        late = settings.requests - math.ceil(0.99 * settings.requests)
        return static(engine(whole), load, rate, policy, (limit, late) if limited else None)

    def best_static(rows: int) -> Static:
        """By the order of requests that gives it more capacity."""
        able = {}
        for by_length in (False, True):
            policy = StaticPolicy(rows, by_length, settings.ended_rows == "dropped")
            outcome = statically(AT_ONCE, policy, limited=False)
            assert outcome is not None
            able[policy] = outcome.throughput
        policy = max(able, key=lambda each: able[each])
        found = highest_rate(lambda rate: statically(rate, policy, limited=True) is not None, 0.0, able[policy], HALVINGS)
        at_rate = statically(SHARE_OF_CAPACITY * capacity, policy, limited=False)
        assert at_rate is not None
        progress.advance(task)
        return Static(policy, able[policy], found, at_rate)

    return Comparison(seed, capacity, served, [best_static(rows) for rows in STATIC_ROWS])


def comparison_table(compared: list[Comparison]) -> Table:
    """A line for continuous batching, and one for each limit of static batching's rows."""
    table = Table("seed", "batching", title="Arrivals, served at the rate of continuous batching", title_justify="left")
    headings = ("capacity, 1/s", "same p99 to, 1/s", "ratio", "p50, s", "p90, s", "p99, s", "mean rows", "longest stall, ms")
    for heading in headings:
        table.add_column(heading, justify="right")
    for each in compared:
        table.add_row(str(each.seed), "continuous", f"{each.capacity:.1f}", f"{each.rate:.1f}", "", *_cells(each.continuous))
        for other in each.statics:
            ratio = f"{each.rate / other.rate:.2f}x" if other.rate else "none holds it"
            cells = f"{other.capacity:.1f}", f"{other.rate:.1f}", ratio, *_cells(other.outcome)
            table.add_row("", f"static, {other.policy}", *cells)
        table.add_section()
    return table


def _cells(outcome: Outcome) -> list[str]:
    percentiles = [f"{outcome.percentile(share):.2f}" for share in (0.5, 0.9, 0.99)]
    stall = f"{1e3 * outcome.longest_stall:.0f}"
    return [*percentiles, f"{outcome.mean_rows:.1f}", stall]


def _figures(compared: Comparison) -> dict[str, object]:
    def figures(outcome: Outcome) -> dict[str, float]:
        percentiles = {f"p{100 * share:.0f}": outcome.percentile(share) for share in (0.5, 0.9, 0.99)}
        others = {"throughput": outcome.throughput, "mean_rows": outcome.mean_rows, "longest_stall": outcome.longest_stall}
        return percentiles | others

    return {
        "seed": compared.seed,
        "capacity": compared.capacity,
        "rate": compared.rate,
        "continuous": figures(compared.continuous),
        "static": [
            {**each._asdict(), "policy": str(each.policy), "outcome": figures(each.outcome)} for each in compared.statics
        ],
        "ratio": compared.ratio,
    }
