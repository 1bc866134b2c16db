"""What a figure was measured on, and whether others were working there."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from quant.processors import available_processors

QUIET = 0.25
"""Of the cores, the load below which a machine's figures can be trusted."""


def busy() -> str | None:
    """What is to be said when others compute here; None on a quiet machine. Ask before the work begins."""
    load, cores = os.getloadavg()[0], available_processors()
    if load <= QUIET * cores:
        return None
    return f"others were computing here before the run (load {load:.1f} on {cores} cores): do not trust the comparison"


def machine_facts() -> dict[str, str]:
    """Name → value, for the foot of a table. Ask before the work begins."""
    load = os.getloadavg()
    return {
        "processor": _processor(),
        "cores": str(available_processors()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.0f} GiB",
        "system": platform.platform(),
        "Python": platform.python_version(),
        **{name: version(name) for name in ("torch", "ray", "grpcio", "fastapi")},
        "load before": f"{load[0]:.1f} over a minute, {load[1]:.1f} over five",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
