"""A replica's figures are those of all its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from serving.observability.processes import is_stopped, replica_metrics

MEBIBYTE = 1 << 20
CHILD = f"held = bytearray(64 * {MEBIBYTE}); print(flush=True); input()"


def figures() -> dict[str, float]:
    return {sample.name: sample.value for metric in replica_metrics([os.getpid()]) for sample in metric.samples}


def test_what_a_replica_started_is_added() -> None:
    alone = figures()
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        both = figures()
        child.communicate(b"\n")
    memory = "dqbart_process_resident_memory_bytes"
    assert both[memory] - alone[memory] > 60 * MEBIBYTE
    assert both["dqbart_process_open_fds"] > alone["dqbart_process_open_fds"]
    for own in ("dqbart_process_start_time_seconds", "dqbart_process_max_fds", "dqbart_replicas"):
        assert both[own] == alone[own]


def test_a_process_stands_still_between_two_signals() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert not is_stopped(child.pid)
        os.kill(child.pid, signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        assert is_stopped(child.pid)
        os.kill(child.pid, signal.SIGCONT)
        child.communicate(b"\n")
    assert not is_stopped(child.pid)
