"""The commands that a sweep runs, each in a process of its own: a crash ends one run, and its memory is given back.

Children are in process groups of their own, so that Ctrl-C reaches them once, by us, and a training has the time to save.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

DQBART = (sys.executable, "-m", "dqbart")


class CommandFailed(RuntimeError):
    """A command ended with an error; the message is its last line."""


class Interrupted(RuntimeError):
    """The sweep is being stopped; nothing is wrong with the run."""


class Children:
    """Runs commands, from any thread, until it is stopped."""

    def __init__(self, threads: int | None, program: Sequence[str] = DQBART) -> None:
        self._program = program
        # A variable DQBART_* is a setting of any command, and would win over what the sweep says.
        self._environment = {key: value for key, value in os.environ.items() if not key.upper().startswith("DQBART_")}
        if threads is not None:
            self._environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def run(self, arguments: Sequence[str], log: Path) -> None:
        """Run the program with arguments; what it prints is added to `log`. Raises CommandFailed, Interrupted."""
        with log.open("ab") as file:
            file.write(f"$ dqbart {shlex.join(arguments)}\n".encode())
            file.flush()
            start = file.tell()
            with self._lock:
                if self._stopping:
                    raise Interrupted
                process = subprocess.Popen(
                    [*self._program, *arguments],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env=self._environment,
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                code = process.wait()
            finally:
                with self._lock:
                    self._running.discard(process)
        if code:
            if self._stopping:
                raise Interrupted
            raise CommandFailed(last_line(log, start) or f"ended with code {code} and said nothing")

    def stop(self) -> None:
        """Ask what runs to save and end, and start nothing more; a second call kills it."""
        with self._lock:
            # Not SIGINT: a shell has its background jobs ignore that, and their children with them.
            number = signal.SIGKILL if self._stopping else signal.SIGTERM
            self._stopping = True
            for process in self._running:
                process.send_signal(number)


def last_line(log: Path, start: int) -> str:
    """The last line of a log after byte `start` that says `error:`, else the last line that is not empty."""
    with log.open("rb") as file:
        file.seek(start)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error: " in line.lower()]
    return (errors or lines or [""])[-1]
