"""`dqbart serve` in a process of its own, on free ports, for as long as a bench needs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

START_SECONDS, STOP_SECONDS = 180, 90
LAST_LINES = 20


class ServerFailed(Exception):
    """A server that did not start. The message has the end of what it printed."""


class Running(NamedTuple):
    """Where a server answers; HOST:PORT each."""

    http: str
    grpc: str
    pid: int


@contextmanager
def running_server(models: Mapping[str, Path], scratch: Path, *arguments: str) -> Iterator[Running]:
    """A server of models by name, ready to answer. Raises ServerFailed."""
    http_port, grpc_port = free_port(), free_port()
    named = ",".join(f"{name}={folder}" for name, folder in models.items())
    ports = ["--http-port", str(http_port), "--grpc-port", str(grpc_port)]
    output = scratch / "server.log"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dqbart", "serve", *ports, *(["--models", named] if named else []), *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C stops the bench, and the bench stops the server
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        try:
            _wait_until_ready(process, output)
            yield Running(f"127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}", process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)


def _wait_until_ready(process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "Ready after" not in (printed := output.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerFailed("\n".join(["the server did not start:", *printed.splitlines()[-LAST_LINES:]]))
        time.sleep(0.2)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
