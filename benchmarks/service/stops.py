"""Runs `dqbart bench stops`: SIGTERM in every phase of a server's start and of its work, many times, and what came of it.

A stop is right when the process ends within the time that is given it, by the code that the phase has, without a word of
Ray's about its own end, and leaves no process behind. The code is 143 before a server takes requests (or the signal itself,
before it looks at signals), and 0 after. Processes are found by a mark in their environment, so that one which has lost its
parent counts as well.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.commands import shipped_models
from benchmarks.service.commands import BenchStops
from benchmarks.service.server_process import free_port

START_SECONDS = 300.0
MARK = "DQBART_STOPS"
SOON = 0.7
"""Seconds after the beginning of a phase within which the signal comes."""
LEFT_SECONDS = 2.0
"""Until a process that is left over counts: the kernel takes a moment to end those that were killed."""
LOAD_CLIENTS = 6

KILLED, STARTING, SERVING = -signal.SIGTERM, 128 + signal.SIGTERM, 0
WORDS = re.compile(r"Failed to connect to GCS|Traceback|core dumped|Fatal Python error|Aborted", re.IGNORECASE)
"""What the output of a server that stops well never has."""


class Attempt(NamedTuple):
    """One server, stopped once."""

    phase: str
    seconds: float
    """From the signal to the process's end."""
    code: int | None
    faults: tuple[str, ...]


class Server:
    """A `dqbart serve` that is on its way."""

    def __init__(self, models: list[Path], threads: int, scratch: Path) -> None:
        self.output = scratch / "output"
        self.mark = uuid.uuid4().hex
        self.port = free_port()
        self._config = scratch / "serve.yaml"
        self._models = models
        self.serve(models)
        arguments = ["--config", str(self._config), "--threads", str(threads)]
        arguments += ["--http-port", str(self.port), "--grpc-port", str(free_port()), "--grace", "20"]
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dqbart", "serve", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, MARK: self.mark, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

    def serve(self, models: list[Path]) -> None:
        self._config.write_text(json.dumps({"models": [str(folder) for folder in models]}))

    def exchange(self) -> None:
        """Have it open another set of models."""
        self.serve([*self._models[1:], Path(f"again={self._models[0]}")])
        self.process.send_signal(signal.SIGHUP)

    def printed(self, text: str) -> bool:
        return text in self.output.read_text(errors="replace")

    def ready(self) -> bool:
        return self.printed("Ready after")

    def runs(self, command: str) -> bool:
        return any(command in " ".join(_command(process)) for process in self.processes())

    def processes(self) -> list[psutil.Process]:
        """All that carry its mark."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


class Moment(NamedTuple):
    """When a server is told to stop, and by which code it may end."""

    reached: Callable[[Server], bool]
    codes: tuple[int, ...]


PHASES: dict[str, Moment] = {
    "checking": Moment(lambda server: server.process.poll() is None, (KILLED, STARTING)),
    "ray": Moment(lambda server: server.runs("gcs_server"), (STARTING,)),
    "node": Moment(lambda server: server.runs("raylet/raylet"), (STARTING,)),
    "controller": Moment(lambda server: server.runs("ray::ServeController"), (STARTING,)),
    "replica": Moment(lambda server: server.runs("ray::ServeReplica"), (STARTING,)),
    "opening": Moment(lambda server: server.runs("serving.server.engines.child"), (STARTING, SERVING)),
    "ready": Moment(Server.ready, (STARTING, SERVING)),
    "idle": Moment(Server.ready, (SERVING,)),
    "load": Moment(Server.ready, (SERVING,)),
    "reload": Moment(Server.ready, (SERVING,)),
    "group": Moment(Server.ready, (SERVING,)),
}


def run_bench_stops(settings: BenchStops) -> int:
    """Returns the exit code: 0 when every stop was right."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    chance = random.Random(settings.seed)
    attempts: list[Attempt] = []
    for turn in range(settings.times):
        for phase in settings.phases or PHASES:
            attempt = _stopped(phase, settings, chance)
            attempts.append(attempt)
            said = "; ".join(attempt.faults) or "right"
            console.print(f"{turn + 1:3} {phase:<10} {attempt.seconds:5.1f} s, code {attempt.code}: {said}", highlight=False)
    console.print(_table(attempts))
    if settings.json_file is not None:
        settings.json_file.write_text(json.dumps([attempt._asdict() for attempt in attempts], indent=2) + "\n")
    return 1 if any(attempt.faults for attempt in attempts) else 0


def _stopped(phase: str, settings: BenchStops, chance: random.Random) -> Attempt:
    with tempfile.TemporaryDirectory(prefix="dqbart-stops-") as scratch:
        server = Server(settings.models or shipped_models()[:2], settings.threads, Path(scratch))
        try:
            return _stop(phase, server, settings.seconds, chance)
        finally:
            for process in server.processes():
                with suppress(psutil.Error):
                    process.kill()
            server.process.wait()


def _stop(phase: str, server: Server, seconds: float, chance: random.Random) -> Attempt:
    reached, codes = PHASES[phase]
    deadline = time.monotonic() + START_SECONDS
    while not reached(server):
        if server.process.poll() is not None or time.monotonic() > deadline:
            return Attempt(phase, 0.0, server.process.poll(), (f"the phase was not reached: {_end_of(server)}",))
        time.sleep(0.01)
    with _asked(server) if phase == "load" else nullcontext():
        if phase == "reload":
            server.exchange()
        time.sleep(chance.uniform(2.0, 3.0) if phase in ("idle", "load", "group") else chance.uniform(0.0, SOON))
        told = time.monotonic()
        if phase == "group":
            # As service managers and terminals do: Ray's own processes hear of it as well.
            os.killpg(server.process.pid, signal.SIGTERM)
        else:
            server.process.send_signal(signal.SIGTERM)
        faults = []
        try:
            code: int | None = server.process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        took = time.monotonic() - told
    if code is None:
        faults.append(f"it runs on after {seconds:g} seconds: {_end_of(server)}")
    elif code not in codes:
        faults.append(f"code {code}, {' or '.join(map(str, codes))} is right: {_end_of(server)}")
    if word := WORDS.search(server.output.read_text(errors="replace")):
        faults.append(f"it says {word[0]!r}: {_end_of(server)}")
    if code is not None and (left := _left_over(server)):
        faults.append(f"left over: {', '.join(left)}")
    return Attempt(phase, took, code, tuple(faults))


def _left_over(server: Server) -> list[str]:
    deadline = time.monotonic() + LEFT_SECONDS
    while (left := server.processes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [" ".join(_command(process))[:80] for process in left]


def _command(process: psutil.Process) -> list[str]:
    try:
        command: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return command


def _end_of(server: Server) -> str:
    return " / ".join(server.output.read_text(errors="replace").splitlines()[-6:])


@contextmanager
def _asked(server: Server) -> Iterator[None]:
    """Clients that ask all the time, whatever they are answered."""
    ended = threading.Event()
    url = f"http://127.0.0.1:{server.port}"
    models = [model["name"] for model in httpx.get(f"{url}/v1/models", timeout=60).json()["models"]]

    def ask(model: str) -> None:
        body = {"inputs": "One sentence after the other. " * 8}
        with httpx.Client(base_url=url, timeout=60) as client:
            while not ended.is_set():
                with suppress(httpx.HTTPError):
                    client.post(f"/huggingface/{model}", json=body)
                    continue
                time.sleep(0.05)

    threads = [threading.Thread(target=ask, args=(models[place % len(models)],)) for place in range(LOAD_CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _table(attempts: list[Attempt]) -> Table:
    table = Table("phase", "stops", "right", "median s", "longest s", "codes")
    for phase in dict.fromkeys(attempt.phase for attempt in attempts):
        these = [attempt for attempt in attempts if attempt.phase == phase]
        seconds = sorted(attempt.seconds for attempt in these)
        codes = ", ".join(sorted({str(attempt.code) for attempt in these}))
        right = sum(not attempt.faults for attempt in these)
        figures = (f"{seconds[len(seconds) // 2]:.1f}", f"{seconds[-1]:.1f}")
        table.add_row(phase, str(len(these)), str(right), *figures, codes)
    return table
