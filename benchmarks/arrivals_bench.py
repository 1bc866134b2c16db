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

import torch
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

SHARE_OF_CAPACITY = 0.8
STATIC_ROWS = (8, 16, 32, 64)
HALVINGS = 5
"""Of the interval from 0 to capacity, so that a rate is found to about 3 % of capacity."""
AT_ONCE = math.inf
WIDTH = 140


class Comparison(NamedTuple):
    """One seed's runs; rates in requests a second."""

    seed: int
    capacity: float
    continuous: Outcome
    static_capacity: float
    static_rate: float
    """The highest within the limit; 0 where none was found."""
    static_policy: StaticPolicy
    static: Outcome | None
    """At `static_rate`."""

    @property
    def rate(self) -> float:
        return SHARE_OF_CAPACITY * self.capacity

    @property
    def ratio(self) -> float:
        return self.rate / self.static_rate if self.static_rate else math.inf


def run_bench_arrivals(settings: BenchArrivals) -> int:
    """Returns the exit code: 0 measured, 1 not."""
    torch.set_num_threads(settings.threads)
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
        architecture.decoder_start_token_id,
        architecture.eos_token_id,
        architecture.max_position_embeddings,
    )
    policies = [
        StaticPolicy(rows, by_length, settings.ended_rows == "dropped")
        for rows in STATIC_ROWS
        for by_length in (False, True)
    ]
    task = progress.add_task(f"seed {seed}", total=3 + 2 * len(policies))
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

    capacities: dict[StaticPolicy, float] = {}
    for policy in policies:
        outcome = statically(AT_ONCE, policy, limited=False)
        assert outcome is not None
        capacities[policy] = outcome.throughput
        progress.advance(task)
    best_rate, best_policy = 0.0, max(policies, key=lambda each: capacities[each])
    # The most capable first: the others need only show that they hold a rate above the best one's.
    for policy in sorted(policies, key=lambda each: -capacities[each]):

        def holds(rate: float, policy: StaticPolicy = policy) -> bool:
            return statically(rate, policy, limited=True) is not None

        better = best_rate + capacities[policy] / 2**HALVINGS
        if better < capacities[policy] and holds(better):
            best_rate, best_policy = highest_rate(holds, better, capacities[policy], HALVINGS), policy
        progress.console.print(
            f"seed {seed}, static, {policy}: capacity {capacities[policy]:.2f}/s; best so far {best_rate:.2f}/s",
            highlight=False,
        )
        progress.advance(task)
    shown = statically(best_rate, best_policy, limited=False) if best_rate else None
    return Comparison(seed, capacity, served, max(capacities.values()), best_rate, best_policy, shown)


def comparison_table(compared: list[Comparison]) -> Table:
    """Two lines a seed: both kinds of batching at the rate that each bears with the same tail latency."""
    table = Table("seed", "batching", title="Arrivals", title_justify="left")
    headings = ("capacity, 1/s", "rate, 1/s", "served, 1/s", "p50, s", "p90, s", "p99, s", "mean rows", "longest stall, ms")
    for heading in headings:
        table.add_column(heading, justify="right")
    for each in compared:
        lines = (
            ("continuous", each.capacity, each.rate, each.continuous),
            (f"static, {each.static_policy}", each.static_capacity, each.static_rate, each.static),
        )
        for name, capacity, rate, outcome in lines:
            figures = ["none holds the limit"] if outcome is None else _cells(outcome)
            table.add_row(str(each.seed), name, f"{capacity:.2f}", f"{rate:.2f}", *figures)
        table.add_row("", "ratio of rates", "", f"{each.ratio:.2f}x", end_section=True)
    return table


def _cells(outcome: Outcome) -> list[str]:
    percentiles = [f"{outcome.percentile(share):.2f}" for share in (0.5, 0.9, 0.99)]
    stall = f"{1e3 * outcome.longest_stall:.0f}"
    return [f"{outcome.throughput:.2f}", *percentiles, f"{outcome.mean_rows:.1f}", stall]


def _figures(compared: Comparison) -> dict[str, object]:
    def figures(outcome: Outcome | None) -> dict[str, float] | None:
        if outcome is None:
            return None
        percentiles = {f"p{100 * share:.0f}": outcome.percentile(share) for share in (0.5, 0.9, 0.99)}
        others = {"throughput": outcome.throughput, "mean_rows": outcome.mean_rows, "longest_stall": outcome.longest_stall}
        return percentiles | others

    return {
        "seed": compared.seed,
        "capacity": compared.capacity,
        "rate": compared.rate,
        "continuous": figures(compared.continuous),
        "static_capacity": compared.static_capacity,
        "static_rate": compared.static_rate,
        "static_settings": str(compared.static_policy),
        "static": figures(compared.static),
        "ratio": compared.ratio,
    }
