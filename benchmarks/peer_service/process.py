"""The peer's service in a process of its own, for as long as the bench needs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.peer_service.application import Setup
from benchmarks.service.server_process import LAST_LINES, START_SECONDS, STOP_SECONDS, ServerFailed

STARTED = "Application startup complete."
"""What uvicorn prints for each of its processes."""


class RunningPeer(NamedTuple):
    """Where it answers, HOST:PORT."""

    http: str
    pid: int


@contextmanager
def running_peer(setup: Setup, environment: tuple[tuple[str, str], ...], scratch: Path) -> Iterator[RunningPeer]:
    """The application, ready to answer. Raises ServerFailed."""
    file, output = scratch / "peer.json", scratch / "peer.log"
    setup.write(file)
    with output.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peer_service.application", str(file)],
            stdout=log,
            stderr=subprocess.STDOUT,
            # A session, as the server has: where others compute, too, Linux shares the cores among sessions.
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **dict(environment)},
        )
        try:
            _wait_until_ready(process, output, setup.workers)
            yield RunningPeer(f"127.0.0.1:{setup.port}", process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)


def _wait_until_ready(process: subprocess.Popen[bytes], output: Path, workers: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while (printed := output.read_text(errors="replace")).count(STARTED) < workers:
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerFailed("\n".join(["the peer did not start:", *printed.splitlines()[-LAST_LINES:]]))
        time.sleep(0.05)
