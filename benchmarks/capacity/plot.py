"""Latency against load for one to a thousand replicas, as a figure with a panel for each model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from benchmarks.capacity.planning import Plan

# Of Okabe and Ito, which people with any colour vision tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def write_capacity_plot(path: Path, plans: Mapping[str, Plan]) -> None:
    """Write the figure in the format of the path's suffix. Raises ValueError for one that is unknown, OSError."""
    # Fixed ids and no date, so that the same results make the same file; text as text, so that it can be searched.
    with matplotlib.rc_context({"svg.hashsalt": "dqbart", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(3.1 * len(plans) + 0.6, 3.6), layout="constrained")
        panels = figure.subplots(1, len(plans), sharey=True, squeeze=False)[0]
        for axes, (name, plan) in zip(panels, plans.items(), strict=True):
            numbers = sorted({point.replicas for point in plan.points})
            for replicas, colour in zip(numbers, COLOURS, strict=False):
                shown = [point for point in plan.points if point.replicas == replicas]
                shares = [100 * point.share for point in shown]
                latencies = [1e3 * point.answered.p99 for point in shown]
                label = f"{replicas:,} replica{'s' if replicas > 1 else ''}"
                axes.plot(shares, latencies, marker="o", markersize=3.5, color=colour, label=label)
            axes.set_yscale("log")
            axes.set_title(f"{name}\n100 % is {plan.most:.0f} requests/s", loc="left", fontsize=9)
            axes.set_xlabel("load of each replica, % of its most")
            axes.grid(alpha=0.25, which="both")
            axes.spines[["top", "right"]].set_visible(False)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        panels[0].set_ylabel("p99, ms (log scale)")
        panels[0].legend(frameon=False)
        figure.savefig(path, dpi=160, metadata={"Date": None} if path.suffix == ".svg" else None)
