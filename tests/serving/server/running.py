"""`dqbart serve` in a process of its own, for tests that ask a real server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.observability.processes import descendants

ROOT = Path(__file__).parents[3]
PATIENCE = 300
"""Seconds after which something hangs, on however slow and busy a machine. What is asserted never depends on them."""

Series = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    url: str
    grpc_address: str
    output: Path
    """What the process printed, standard error included."""


@contextmanager
def start_server(
    folder: Path, models: Sequence[Path | str], *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server of `models` (each FOLDER or NAME=FOLDER) on free ports, ready to answer, stopped at the end.

    `arguments` are further flags of `dqbart serve`, `env` is added to the environment, and `folder` takes the output.
    """
    http_port, grpc_port = free_port(), free_port()
    output = folder / "output"
    ports = ("--http-port", str(http_port), "--grpc-port", str(grpc_port))
    named = ("--models", ",".join(map(str, models))) if models else ()
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dqbart", "serve", *ports, *named, *arguments],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "120", **(env or {})},
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_until_ready(process, output)
            yield Server(process, f"http://127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}", output)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def wait_until_ready(process: subprocess.Popen[str], output: Path) -> None:
    deadline = time.monotonic() + 2 * PATIENCE
    while "Ready after" not in output.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the server did not start:\n{output.read_text()}")
        time.sleep(0.1)


def command(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A `dqbart` command, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "dqbart", *arguments], cwd=ROOT, input=stdin, capture_output=True, text=True, check=False
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def series(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())


def metrics(server: Server) -> dict[Series, float]:
    page = httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text
    return {
        series(sample.name, **sample.labels): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def ongoing(server: Server) -> float:
    """Requests that have arrived and not ended."""
    return sum(value for (name, _), value in metrics(server).items() if name == "dqbart_ongoing_requests")


@contextmanager
def engines_standing_still(server: Server) -> Iterator[None]:
    """What they were asked, or are asked meanwhile, is not answered before the end of the block."""
    engines = processes(server, lambda command: b"serving.server.engines.child" in command)
    assert engines
    for pid in engines:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in engines:
            os.kill(pid, signal.SIGCONT)


def processes(server: Server, wanted: Callable[[bytes], bool]) -> list[int]:
    """Those of a server that have such a command line."""
    found = []
    for pid in descendants(server.process.pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if wanted(command):
            found.append(pid)
    return found
