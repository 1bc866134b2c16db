"""The comparison with the peer as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table

from benchmarks.peer_service.figures import OURS, PEER, SIDES, Compared


def peer_tables(compared: Sequence[Compared]) -> list[Table]:
    """All of it, what is asked first."""
    return [table(compared) for table in (equal_p99_table, equal_rate_table, work_table, settings_table)]


def equal_p99_table(compared: Sequence[Compared]) -> Table:
    """Requests a second that keep a limit."""
    table = Table("", title="Requests a second (Poisson) at equal p99", title_justify="left")
    for heading in ("p99 within, ms", *SIDES, "ratio"):
        table.add_column(heading, justify="right")
    for each in compared:
        for limit in each.limits:
            rates = (each.sides[side].search.highest(limit) for side in SIDES)
            ratio = each.ratio(limit)
            shown = "" if ratio is None else f"{ratio:.2f}x"
            table.add_row(each.name, f"{1e3 * limit:g}", *(f"{rate:.1f}" if rate else "none" for rate in rates), shown)
        ours, theirs = (each.sides[side].many.throughput for side in SIDES)
        table.add_row(each.name, "no limit", f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}x")
        table.add_section()
    return table


def equal_rate_table(compared: Sequence[Compared]) -> Table:
    """Latencies at the same rates."""
    table = Table("", title="Latency at equal rate", title_justify="left")
    table.add_column("requests/s", justify="right")
    for percentile in ("p50", "p99"):
        for heading in (f"{OURS}, {percentile}, ms", PEER, "ratio"):
            table.add_column(heading, justify="right")
    table.add_column("failures")
    for each in compared:
        for rate in each.sides[OURS].at_rates:
            trials = [each.sides[side].at_rates[rate] for side in SIDES]
            medians = [trial.outcome.percentile(0.5) for trial in trials]
            tails = [trial.p99 for trial in trials]
            table.add_row(
                each.name,
                f"{rate:.1f}",
                *_beside(medians),
                *_beside(tails),
                "; ".join(
                    f"{side}: {count} {code}"
                    for side, trial in zip(SIDES, trials, strict=True)
                    for code, count in trial.outcome.failures.items()
                ),
            )
        table.add_section()
    return table


def work_table(compared: Sequence[Compared]) -> Table:
    """Whether both did the same, and what else it took."""
    table = Table("", "side", title="The work", title_justify="left")
    processor = "processor, ms a request"
    for heading in ("tokens an answer", "equal answers", processor, f"{processor}, no limit", "the client, of a core"):
        table.add_column(heading, justify="right")
    table.add_column("settings")
    for each in compared:
        for name in SIDES:
            side = each.sides[name]
            table.add_row(
                each.name,
                name,
                f"{side.answers.mean_tokens:.1f}",
                f"{each.same_texts:.0%}" if name == PEER else "",
                f"{1e3 * side.cpu_of_a_request:.1f}",
                f"{1e3 * side.many.cpu_of_a_request:.1f}",
                f"{side.client_share:.0%}",
                str(each.tried.best) if name == PEER else "defaults",
            )
        table.add_section()
    return table


def settings_table(compared: Sequence[Compared]) -> Table:
    """What was tried on the peer."""
    table = Table("", "CTranslate2's settings", title="The search for the peer's best settings", title_justify="left")
    for heading in ("requests/s, no limit", "p99 at a rate, ms"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for each in compared:
        for settings, throughput in sorted(each.tried.throughputs.items(), key=lambda entry: -entry[1]):
            latency = each.tried.latencies.get(settings)
            shown = "" if latency is None else f"{1e3 * latency:.0f}"
            best = "taken" if settings == each.tried.best else ""
            table.add_row(each.name, str(settings), f"{throughput:.1f}", shown, best)
        table.add_section()
    return table


def _beside(seconds: Sequence[float]) -> list[str]:
    shown = [f"{1e3 * value:.0f}" if math.isfinite(value) else "never" for value in seconds]
    ours, theirs = seconds
    return [*shown, f"{theirs / ours:.1f}x" if math.isfinite(ours + theirs) else ""]
