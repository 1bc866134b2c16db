"""A contestant in a process of its own, which sleeps until it is asked: `python -m benchmarks.worker SPECIFICATION`.

Environment variables that a program reads when it is loaded can so differ from one contestant to the next, none holds
another's memory or threads, and none computes while another is timed: between two questions a worker waits on a pipe.
Questions and answers are lines of JSON on standard input and output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contestants import Specification
from benchmarks.works import Work

REST_SECONDS = 0.1
"""After an answer: OpenMP threads spin for some milliseconds before they sleep."""


class Memory(NamedTuple):
    """Resident bytes of a process."""

    resident: int
    peak: int
    """The most so far."""


class WorkerFailed(RuntimeError):
    """A worker ended without an answer; its own message stands above, on standard error."""


class Worker:
    """The parent's end; a context manager that ends the process."""

    def __init__(self, specification: Specification) -> None:
        """Starts the process and waits until it has loaded. Raises WorkerFailed."""
        self.specification = specification
        threads = {"OMP_NUM_THREADS": str(specification.threads // specification.replicas)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", json.dumps(specification, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **threads, **dict(specification.environment)},
            text=True,
        )
        try:
            loaded = self._answer()
        except WorkerFailed:
            self.__exit__()
            raise
        self.before_loading, self.loaded = Memory(*loaded["before"]), Memory(*loaded["after"])

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: Any) -> None:
        # Closes both pipes, which ends the worker, and waits for it.
        self._process.__exit__(None, None, None)

    def seconds(self, work: Work, new_tokens: int) -> float:
        """Decode the work once. Raises WorkerFailed, also when a source got another number of tokens."""
        return float(self._ask({"work": work, "new_tokens": new_tokens})["seconds"])

    def memory(self) -> Memory:
        return Memory(*self._ask({})["memory"])

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        time.sleep(REST_SECONDS)
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(f"{self.specification.name} ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def memory() -> Memory:
    """Of this process; Linux only."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    resident, peak = (1024 * int(status[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return Memory(resident, peak)


def serve(specification: Specification) -> None:
    """Load, say so, answer until standard input ends."""
    # Whatever a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    if specification.kind != "ctranslate2":
        import torch  # noqa: F401  The memory of an interpreter with torch is where ours is counted from.
    before = memory()
    try:
        contestant = specification.load()
    except (RuntimeError, ValueError) as error:
        raise SystemExit(f"{specification.name} cannot be loaded: {error}") from None
    answer({"before": before, "after": memory()})
    for line in sys.stdin:
        question = json.loads(line)
        if "work" not in question:
            answer({"memory": memory()})
            continue
        work, new_tokens = Work(*question["work"]), question["new_tokens"]
        run = contestant.prepare(work, new_tokens)
        started = time.perf_counter()
        counts = run()
        seconds = time.perf_counter() - started
        if counts != [new_tokens] * work.batch:
            raise SystemExit(f"{specification.name}: {new_tokens} tokens a source were asked for, these came: {counts}")
        answer({"seconds": seconds})


def main() -> None:
    given = Specification(*json.loads(sys.argv[1]))
    environment = tuple((key, value) for key, value in given.environment)
    serve(given._replace(folder=Path(given.folder), environment=environment))


if __name__ == "__main__":
    main()
