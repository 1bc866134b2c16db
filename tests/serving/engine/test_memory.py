from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from serving.engine.memory import give_back_freed_memory

MIB = 1 << 20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps what is given back here")
def test_freed_memory_goes_back_to_the_system() -> None:
    """Blocks below the last one that is still used are what glibc keeps by itself."""
    blocks = [bytes([1]) * (64 << 10) for _ in range(1024)]
    last = blocks[-1]
    del blocks
    kept = resident()
    give_back_freed_memory()
    assert kept - resident() > 32 * MIB
    assert last[0] == 1
