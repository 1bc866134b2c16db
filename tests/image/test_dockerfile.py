"""What can be said of the Dockerfile without building it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = ("compress", "gpu", "tracing")
PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z]+\])?==([^ ;]+)")


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_constraints_have_the_versions_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *(each for extra in EXTRAS for each in extras[extra])]
    wanted = dict(PIN.match(each).groups() for each in named)  # type: ignore[union-attr]
    pinned = dict(line.split("==") for line in (ROOT / "docker/constraints.txt").read_text().split("\n") if "==" in line)
    made_anew = "python docker/constraints.py > docker/constraints.txt"
    assert {name: pinned.get(_plain(name)) for name in wanted} == wanted, f"make it anew: {made_anew}"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
