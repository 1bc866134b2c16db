"""How many threads compute: those that this process may use, and those that it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from quant.processors import available_threads as available_threads


def set_threads(threads: int) -> None:
    """Let kernels and PyTorch's operations compute on so many threads, the caller's included.

    PyTorch splits rows evenly among its threads, and an odd share would leave the last rows of each to a scalar loop that
    rounds differently from the vectorised one; it gets a power of two.
    """
    import torch

    from serving.engine.native.team import team

    torch.set_num_threads(1 << (threads.bit_length() - 1))
    if (found := team()) is not None:
        found.dq_team_resize(threads)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """PyTorch's operations on the caller's thread alone: its team waits at barriers for whoever is late."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
