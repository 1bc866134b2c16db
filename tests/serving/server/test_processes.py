"""Processes that outlive their parent are found, and ended."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, subprocess, sys
from serving.observability.processes import descendants
from serving.server.processes import adopt_orphans, kill_descendants
adopt_orphans()
script = 'import subprocess; print(subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL).pid)'
orphan = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout)
print(orphan in descendants(os.getpid()))
kill_descendants()
print(descendants(os.getpid()))
"""


def test_orphans_are_found_and_ended() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "[]"]
