"""Artifacts made to do harm are refused with a message, in little memory: never a crash, a hang or a MemoryError."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_they_are_read_or_refused_in_little_memory(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models" / "mbart-de-en-2-4-8", tmp_path / "model")
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("strange_artifacts.py")), str(tmp_path / "model")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RUST_BACKTRACE": "0"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "all were read or refused"), ran.stderr[-4000:]
