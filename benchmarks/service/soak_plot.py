"""Memory and open files of a server over time, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from benchmarks.service.process_tree import Sample


def write_soak_plot(path: Path, samples: Sequence[Sample]) -> None:
    """Write the figure in the format of the path's suffix."""
    minutes = [sample.seconds / 60 for sample in samples]
    with matplotlib.rc_context({"svg.hashsalt": "dqbart", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        memory, files = figure.subplots(2, 1, sharex=True)
        memory.plot(minutes, [sample.resident / (1 << 20) for sample in samples], color="#0072B2")
        memory.set_ylabel("resident memory, MiB")
        files.plot(minutes, [sample.open_files for sample in samples], color="#D55E00")
        files.set_ylabel("open files")
        files.set_xlabel("minutes of traffic")
        for axes in (memory, files):
            axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, dpi=160, metadata={"Date": None} if path.suffix == ".svg" else None)
