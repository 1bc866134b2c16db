"""What the server's process started, directly or not, and its end.

Ray ends its processes, but not those that they started, and none after a failed start. Where Linux allows, orphans become
children of this process instead of the machine's first one, so that they are found at the end.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from threading import Timer
from typing import NoReturn

from serving.observability.processes import descendants

PR_SET_CHILD_SUBREAPER = 36
RAYS_CENTRE = "gcs_server"
"""The program that all of Ray's processes ask. A signal to the whole group of processes ends it at once."""

_PAUSE = 0.02
_FOLDERS: list[Path] = []


def adopt_orphans() -> None:
    """Become the parent of every process that is started below this one and loses its own parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def kill_descendants(seconds: float = 5.0) -> None:
    """Kill what is left below this process, and return when it has ended, or after `seconds`."""
    deadline = time.monotonic() + seconds
    _kill(deadline)
    while descendants(os.getpid()) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        _kill(deadline)


def remove_at_end(folder: Path) -> None:
    """Have a folder removed when this process ends, in whichever way."""
    _FOLDERS.append(folder)
    atexit.register(_remove)


def end_process(code: int) -> NoReturn:
    """End this process and all below it, at once; `code` is its exit code.

    An exit by the interpreter's ways would ask Ray's code to tidy up, which waits a minute for a process that has gone, and
    then ends this one by a code of its own.
    """
    _kill(time.monotonic() + 1)
    _remove()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def end_process_after(seconds: float, code: int) -> None:
    """Give this process so much time to end by itself, whatever it is waiting for."""
    timer = Timer(seconds, end_process, (code,))
    timer.daemon = True
    timer.start()


def runs_below(program: str) -> bool:
    """Whether a process below this one has a program of that name."""
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].endswith(program.encode()):
                return True
    return False


def _remove() -> None:
    for folder in _FOLDERS:
        shutil.rmtree(folder, ignore_errors=True)


def _kill(deadline: float) -> None:
    """Stopped first, so that none starts another one meanwhile, nor hears of the others' end; the oldest die last."""
    stopped: dict[int, None] = {}
    while (running := [pid for pid in descendants(os.getpid()) if pid not in stopped]) and time.monotonic() < deadline:
        for pid in running:
            _send(pid, signal.SIGSTOP)
        stopped |= dict.fromkeys(running)
    for pid in reversed(stopped):
        _send(pid, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
