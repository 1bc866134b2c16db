"""Engines whose process hangs in a step, when a test says so."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[3]

Way = Literal["computing", "holding Python"]
"""A kernel that never ends lets the process's other threads go on; what holds Python's lock does not."""

CALLS: Mapping[Way, str] = {"computing": "ctypes.CDLL(None)", "holding Python": "ctypes.PyDLL(None)"}

HOOK = """
import sys

if "serving.server.engines.child" in sys.orig_argv:
    import ctypes
    from pathlib import Path
    from serving.engine.engine import Engine

    decode = Engine.decode

    def hanging(engine):
        try:
            Path({flag!r}).unlink()
        except FileNotFoundError:
            return decode(engine)
        while True:
            {library}.sleep(3600)

    Engine.decode = hanging
"""


def environment(folder: Path, way: Way) -> dict[str, str]:
    """Of processes whose engines hang for good in a step, one of them each time that `hang` was called."""
    (folder / "sitecustomize.py").write_text(HOOK.format(flag=str(flag(folder)), library=CALLS[way]))
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])}


def hang(folder: Path) -> None:
    """Whichever decodes next."""
    flag(folder).touch()


def flag(folder: Path) -> Path:
    return folder / "hang"
