"""The trade-off as a figure: quality against footprint, against measured speed, and against the time that students took.

A colour for each number of bits. A line goes from depth to depth through its students of the grid, and where time is shown
from time to time; students with settings of their own are hollow. Who is beaten by nobody, in size (speed, time) and quality
at once, has a ring: the Pareto front.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pipelines.sweep.results import Row

PLOT_FILES = ("plot.svg", "plot.png")
# Okabe and Ito's colours, which people with any colour vision tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C7A00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")

Measure = Callable[[Row], float | None]
Line = Callable[[Row], Hashable]
"""What students of the grid have in common that a line joins, beside their bits."""


def pareto(points: Sequence[tuple[float, float]], smaller_is_better: bool) -> list[int]:
    """Indices of the points that no other point beats: none is at least as good in both, and better in one."""
    sign = -1 if smaller_is_better else 1
    goods = [(sign * x, y) for x, y in points]
    return [
        index
        for index, (x, y) in enumerate(goods)
        if not any(other_x >= x and other_y >= y and (other_x, other_y) != (x, y) for other_x, other_y in goods)
    ]


def write_plots(folder: Path, teacher: Row, rows: Sequence[Row], metric: str) -> None:
    """Write plot.svg and plot.png; rows without a score are left out."""
    shown = [row for row in rows if row.score is not None]
    # Fixed ids and no date, so that the same results make the same file; text as text, so that it can be searched.
    with matplotlib.rc_context({"svg.hashsalt": "dqbart", "svg.fonttype": "none", "font.size": 9}):
        timed = any(row.cpu_minutes for row in shown)
        figure = Figure(figsize=(17.0 if timed else 11.5, 4.8), layout="constrained")
        sizes, speeds, *times = figure.subplots(1, 3 if timed else 2, sharey=True)

        def time(row: Row) -> float | None:
            return row.grid_minutes

        def depth(row: Row) -> str:
            return row.layers

        _panel(sizes, teacher, shown, lambda row: row.bytes and row.bytes / 1e6, time, smaller_is_better=True)
        sizes.set_xlabel("weights, MB (log scale)")
        sizes.set_ylabel(f"{metric}, mean over directions" if len(teacher.scores) > 1 else metric)
        sizes.set_title("Quality against footprint", loc="left", fontweight="bold")
        _panel(speeds, teacher, shown, lambda row: row.tokens_per_second.get("1"), time, smaller_is_better=False)
        speeds.set_xlabel("tokens a second, batch 1, greedy (log scale)")
        speeds.set_title("Quality against decoding speed", loc="left", fontweight="bold")
        for axes in times:
            _panel(axes, teacher, shown, lambda row: row.cpu_minutes or None, depth, smaller_is_better=True)
            axes.set_xlabel("CPU minutes of compress (log scale)")
            axes.set_title("Quality against the time to make it", loc="left", fontweight="bold")
        handles = dict(zip(*reversed(sizes.get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles.keys(), title="bits W-E-A", loc="outside right center", frameon=False)
        for name in PLOT_FILES:
            figure.savefig(folder / name, dpi=160, metadata={"Date": None} if name.endswith("svg") else None)


def _panel(axes: Axes, teacher: Row, rows: Sequence[Row], measure: Measure, line: Line, smaller_is_better: bool) -> None:
    placed = [(row, x, row.score) for row in rows if (x := measure(row)) is not None and row.score is not None]
    axes.set_xscale("log")
    for place, bits in enumerate(dict.fromkeys(row.bits for row in rows)):
        style: dict[str, Any] = {"color": _COLOURS[place % len(_COLOURS)], "marker": _MARKERS[place % len(_MARKERS)]}
        style |= {"markersize": 6, "linewidth": 1}
        grid = [(line(row), x, y) for row, x, y in placed if row.bits == bits and not row.extra]
        extra = [(x, y) for row, x, y in placed if row.bits == bits and row.extra]
        for number, joined in enumerate(dict.fromkeys(key for key, _, _ in grid)):
            points = sorted((x, y) for key, x, y in grid if key == joined)
            axes.plot([x for x, _ in points], [y for _, y in points], label=None if number else bits, **style)
        style |= {"linestyle": "none", "markerfacecolor": "white"}
        axes.plot([x for x, _ in extra], [y for _, y in extra], label=None if grid else bits, zorder=3, **style)
        # Labels of one colour above, of the next below: students of like size and quality differ in their bits.
        offset, anchor = ((5, 5), "bottom") if place % 2 else ((5, -5), "top")
        for row, x, y in placed:
            if row.bits == bits:
                minutes = "" if row.grid_minutes is None else f", {row.grid_minutes:g} min"
                text = row.name if row.extra else f"{row.layers}{minutes}"
                where: dict[str, Any] = {"textcoords": "offset points", "verticalalignment": anchor, "fontsize": 7}
                axes.annotate(text, (x, y), offset, color=style["color"], **where)
    front = [placed[index] for index in pareto([(x, y) for _, x, y in placed], smaller_is_better)]
    ring: dict[str, Any] = {"markersize": 11, "markerfacecolor": "none", "markeredgecolor": "#333333", "linestyle": "none"}
    axes.plot([x for _, x, _ in front], [y for _, _, y in front], marker="o", label="Pareto front", **ring)
    if teacher.score is not None:
        grey = "#666666"
        axes.axhline(teacher.score, color=grey, linestyle="--", linewidth=1, label=f"teacher, {teacher.layers}")
        x = measure(teacher)
        axes.plot([] if x is None else [x], [] if x is None else [teacher.score], marker="*", markersize=11, color=grey)
    axes.margins(x=0.12)
    axes.grid(alpha=0.25, which="major")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
