"""What docs/program.md and the README show of programs is run, with the shipped models."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "program.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^    (dqbart .*--model \./.*)$", re.MULTILINE)


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_page() -> None:
    """In one interpreter: an example uses what those before it have defined. What is shown as output is in it, in order."""
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    printed = run("".join(text for kind, text in blocks if kind == "python"))
    shown = [text for kind, text in blocks if kind == "text"]
    assert len(shown) == 2
    for text in shown:
        _, found, printed = printed.partition(text)
        assert found, f"{text!r} is not printed"


def test_the_quickstart_of_the_readme() -> None:
    blocks = [
        text for kind, text in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")) if "import load" in text
    ]
    (quickstart,) = blocks
    assert run(quickstart) == "Good morning!\n"


def test_the_quickstart_of_the_package() -> None:
    program = "import dqbart\nprint(dqbart.__doc__)"
    lines = [line.removeprefix("    ") for line in run(program).splitlines() if line.startswith("    ")]
    assert run("\n".join([*lines, "print(result.text)"])) == "Good morning!\n"


@pytest.mark.parametrize("command", COMMAND.findall(PAGE.read_text(encoding="utf-8")))
def test_the_commands(command: str) -> None:
    arguments = [first or second for first, second in re.findall(r'"([^"]*)"|(\S+)', command)][1:]
    done = subprocess.run(
        [sys.executable, "-m", "dqbart", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
