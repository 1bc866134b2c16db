"""What the server's process started, directly or not, and its end.

Ray ends its processes, but not those that they started, and none after a failed start. Where Linux allows, orphans become
children of this process instead of the machine's first one, so that they are found at the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time

from serving.observability.processes import descendants

PR_SET_CHILD_SUBREAPER = 36
_PAUSE = 0.02


def adopt_orphans() -> None:
    """Become the parent of every process that is started below this one and loses its own parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def kill_descendants(seconds: float = 5.0) -> None:
    """Kill what is left below this process, and return when it has ended, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)
