"""The figures as tables in Markdown, as docs/capacity.md has them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.capacity.calibration import Calibration
from benchmarks.capacity.costs import Line, ServiceCosts
from benchmarks.capacity.planning import Answered, Plan
from benchmarks.capacity.validation import Compared


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is to the left, and the others to the right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def calibration_table(calibrations: Sequence[Calibration], services: Mapping[str, ServiceCosts]) -> str:
    """What was measured of each model, and of the service."""
    headings = ["", "source tokens", "new tokens", "steps", "encoding, ms", "step, ms by rows", "alone in the engine, ms"]
    headings += ["event loop, ms", "path, ms"]
    rows = []
    for calibration in calibrations:
        costs, service = calibration.costs, services[calibration.asked.model]
        works = costs.works
        rows.append(
            [
                calibration.asked.model,
                _spread([work.source_tokens for work in works]),
                _spread(calibration.new_tokens),
                _spread([len(work.rows) for work in works]),
                _line(costs.encode, "tokens"),
                _line(costs.decode, "rows"),
                f"{1e3 * statistics.fmean(costs.alone(work) for work in works):.1f}",
                f"{1e3 * service.loop:.2f}",
                f"{1e3 * service.path:.2f}",
            ]
        )
    return markdown(headings, rows)


def validation_table(compared: Sequence[Compared]) -> str:
    """Measured against simulated."""
    names = ("requests/s", "p50", "p99")
    headings = ["model", "replicas", "offered/s"]
    headings += [f"{name if name == 'requests/s' else f'{name}, ms'}: measured, simulated, error" for name in names]
    headings += ["failures"]
    rows = []
    for each in compared:
        cells = []
        for name, (measured, simulated) in each.figures().items():
            factor = 1.0 if name == "requests/s" else 1e3
            error = (simulated - measured) / measured if measured else float("nan")
            cells.append(f"{factor * measured:.1f}, {factor * simulated:.1f}, {error:+.0%}")
        failures = ", ".join(f"{count} {code}" for code, count in each.measured.failures.items())
        rows.append([each.model, str(each.replicas), f"{each.rate:.0f}", *cells, failures])
    return markdown(headings, rows)


def one_replica_table(plans: Mapping[str, Plan]) -> str:
    """What one replica does at most."""
    limits = list(next(iter(plans.values())).highest_rates)
    headings = ["one replica", "alone, p50, ms", "alone, p99, ms", "requests/s at most"]
    headings += [f"requests/s at p99 ≤ {_limit(limit)}" for limit in limits]
    rows = [
        [
            name,
            f"{1e3 * plan.alone.p50:.1f}",
            f"{1e3 * plan.alone.p99:.1f}",
            f"{plan.most:.0f}",
            *("–" if rate is None else f"{rate:.0f}" for rate in plan.highest_rates.values()),
        ]
        for name, plan in plans.items()
    ]
    return markdown(headings, rows)


def needs_table(plans: Mapping[str, Plan]) -> str:
    """Replicas by rate and limit."""
    limits = list(next(iter(plans.values())).needs[0].replicas)
    headings = ["replicas", "requests/s", *(f"p99 ≤ {_limit(limit)}" for limit in limits)]
    rows = [
        [name, f"{needs.rate:,.0f}", *("–" if count is None else f"{count:,}" for count in needs.replicas.values())]
        for name, plan in plans.items()
        for needs in plan.needs
    ]
    return markdown(headings, rows)


def headroom_table(plans: Mapping[str, Plan]) -> str:
    """What happens beyond the load that was planned for, and what it costs to be prepared."""
    headings = ["planned for", "that come/s", "p99, ms, as planned", "refused", "replicas that hold it", "more than planned"]
    rows = []
    for name, plan in plans.items():
        if plan.headroom is None:
            continue
        load, grown = plan.headroom
        for place, each in enumerate(grown):
            what = f"{name}: {load.rate:,.0f}/s at p99 ≤ {_limit(load.limit)}" if place == 0 else ""
            more = each.replicas / grown[0].replicas - 1
            rows.append(
                [what, f"{each.growth * load.rate:,.0f}", f"{1e3 * each.answered.p99:,.0f}", f"{each.answered.refused:.1%}",
                 f"{each.replicas:,}", f"{more:+.0%}"]
            )  # fmt: skip
    return markdown(headings, rows)


def scaling_table(plans: Mapping[str, Plan]) -> str:
    """p50 and p99 of so many replicas, each at a share of the most that it can do."""
    shares = sorted({point.share for plan in plans.values() for point in plan.points})
    headings = ["p50, p99, ms", "replicas", *(f"at {share:.0%}" for share in shares)]
    rows = []
    for name, plan in plans.items():
        for replicas in sorted({point.replicas for point in plan.points}):
            found = {point.share: point.answered for point in plan.points if point.replicas == replicas}
            rows.append([name, f"{replicas:,}", *(_latencies(found[share]) for share in shares)])
    return markdown(headings, rows)


def _latencies(answered: Answered) -> str:
    refused = f" ({answered.refused:.1%} refused)" if answered.refused else ""
    return f"{1e3 * answered.p50:,.0f}, {1e3 * answered.p99:,.0f}{refused}"


def _limit(limit: float) -> str:
    return f"{limit:g} s" if limit >= 1 else f"{1e3 * limit:g} ms"


def _spread(values: Sequence[int]) -> str:
    return f"{statistics.median(values):.0f} ({min(values)}–{max(values)})"


def _line(line: Line, of: str) -> str:
    points = line.points
    shown = [points[0], points[len(points) // 2], points[-1]] if len(points) > 2 else points
    return ", ".join(f"{1e3 * y:.1f} at {x:.0f}" for x, y in shown) + f" {of}"
