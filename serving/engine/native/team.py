"""The threads that kernels share their work with: one team in a process, whatever kernels are loaded (kernels/team.cpp)."""

from __future__ import annotations

import ctypes
from ctypes import c_int64
from functools import cache
from pathlib import Path

from quant.processors import available_threads


@cache
def team() -> ctypes.CDLL | None:
    """The built library, with as many threads as are available; None where there was no compiler, or it cannot be loaded."""
    files = sorted(Path(__file__).parent.glob("_team.*so"))
    if not files:
        return None
    try:
        # Kernels find its functions among those of the process.
        library = ctypes.CDLL(str(files[0]), mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return None
    library.dq_team_resize.argtypes, library.dq_team_resize.restype = [c_int64], None
    library.dq_team_size.argtypes, library.dq_team_size.restype = [], c_int64
    library.dq_team_resize(available_threads())
    return library
