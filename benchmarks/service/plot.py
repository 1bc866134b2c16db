"""Latency against the rate of requests, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from benchmarks.service.figures import Point

# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = {"http": "#0072B2", "grpc": "#D55E00"}
STYLES = {"p50": (0.5, "-", "o"), "p99": (0.99, "--", "^")}


def write_latency_plot(path: Path, points: Sequence[Point], model: str) -> None:
    """Write the figure in the format of the path's suffix. Raises ValueError for one that is unknown, OSError."""
    # Fixed ids and no date, so that the same results make the same file; text as text, so that it can be searched.
    with matplotlib.rc_context({"svg.hashsalt": "dqbart", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.subplots()
        for protocol, colour in COLOURS.items():
            shown = sorted((point for point in points if point.protocol == protocol), key=lambda point: point.rate)
            for name, (share, line, marker) in STYLES.items():
                latencies = [1e3 * point.outcome.percentile(share) for point in shown]
                if shown:
                    label = f"{'gRPC' if protocol == 'grpc' else 'HTTP'}, {name}"
                    rates = [point.rate for point in shown]
                    axes.plot(rates, latencies, line, marker=marker, markersize=5, color=colour, label=label)
        axes.set_yscale("log")
        axes.set_xlim(left=0)
        axes.set_xlabel("requests a second that come (Poisson)")
        axes.set_ylabel("latency from when a request was due, ms (log scale)")
        axes.set_title(model, loc="left", fontweight="bold")
        axes.grid(alpha=0.25, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        if points:
            axes.legend(frameon=False)
        figure.savefig(path, dpi=160, metadata={"Date": None} if path.suffix == ".svg" else None)
