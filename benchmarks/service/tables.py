"""The figures as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from benchmarks.service.figures import ENGINE, PERCENTILES, Claim, Figures, Point, Rounds, percentiles


def claims_table(claims: Sequence[Claim]) -> Table:
    """What is asked of the service, and whether it is so."""
    table = Table("", "over", title="The service beside its engine", title_justify="left")
    for heading in ("engine alone", "service", "figure", "asked for"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for claim in sorted(claims, key=lambda claim: claim.what):
        engine = "" if claim.engine is None else f"{claim.engine:.2f}"
        value = f"{claim.value:.2f}"
        asked = f"{claim.relation} {claim.asked:g}"
        table.add_row(
            claim.what, claim.protocol, engine, f"{claim.service:.2f}", value, asked, "met" if claim.met else "missed"
        )
    return table


def load_table(figures: Figures) -> Table:
    """Closed loops: latencies and throughput of each side."""
    table = Table("load", "side", title=f"{figures.model}: so many requests at a time", title_justify="left")
    for heading in ("requests/s", *(f"{name}, ms" for name in PERCENTILES), "the client's share of a core"):
        table.add_column(heading, justify="right")
    table.add_column("failures")
    loads = {"one at a time": figures.alone, "many at a time": figures.many, "many, null model": figures.empty}
    for name, sides in loads.items():
        for side, rounds in sides.items():
            client = "" if side == ENGINE else f"{rounds.sender_share:.0%}"
            table.add_row(name, side, *_cells(rounds), client, _failures(rounds.failures))
        table.add_section()
    return table


def rates_table(points: Sequence[Point]) -> Table:
    """Open loops: latencies from the time at which requests were due."""
    table = Table("over", title="Requests at a rate, as they come (Poisson)", title_justify="left")
    for heading in ("offered/s", "answered/s", *(f"{name}, ms" for name in PERCENTILES)):
        table.add_column(heading, justify="right")
    table.add_column("failures")
    for point in sorted(points, key=lambda point: (point.protocol, point.rate)):
        rounds = Rounds((point.outcome,))
        table.add_row(point.protocol, f"{point.rate:.1f}", *_cells(rounds), _failures(rounds.failures))
    return table


def facts_line(facts: Mapping[str, str]) -> str:
    """What it was measured on."""
    return "; ".join(f"{name} {value}" for name, value in facts.items())


def _cells(rounds: Rounds) -> list[str]:
    return [f"{rounds.throughput:.1f}", *(f"{1e3 * value:.1f}" for value in percentiles(rounds.latencies).values())]


def _failures(failures: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {code}" for code, count in sorted(failures.items()))
