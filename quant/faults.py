"""What is said of a folder that is no readable artifact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quant.errors import Error

MOST_FAULTS = 1000
LONGEST_FAULT = 1000
"""How many faults are listed of one folder, and how many characters of each."""


class ArtifactError(Error, ValueError):
    """A folder that is not a readable artifact. The message names the file and lists every fault."""


@contextmanager
def memory_faults(path: Path) -> Iterator[None]:
    """Where a file does not fit into memory, ArtifactError says so."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # the latter is torch's
        raise ArtifactError(f"{path} does not fit into memory: {error}") from error


def listed(subject: str, faults: list[str]) -> str:
    """All faults of one file or folder, a line each."""
    shown = [f"  {printable(fault)}" for fault in faults[:MOST_FAULTS]]
    if left := len(faults) - len(shown):
        shown.append(f"  and {left} more")
    return "\n".join([f"{subject}: {len(faults)} fault{'s' * (len(faults) > 1)}:", *shown])


def printable(text: str) -> str:
    """What was read from a file, so that it can neither steer a terminal nor fill it."""
    if len(text) > LONGEST_FAULT:
        half = LONGEST_FAULT // 2
        text = f"{text[:half]} … {text[-half:]}"
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
