"""One number of threads for kernels and for PyTorch."""

from __future__ import annotations

import pytest
import torch

from serving.engine.native.team import team
from serving.engine.threads import one_torch_thread, set_threads


@pytest.mark.parametrize(("threads", "torchs"), [(1, 1), (2, 2), (3, 2), (6, 4)])
def test_threads_are_those_of_kernels_and_of_torch(threads: int, torchs: int) -> None:
    """PyTorch gets a power of two."""
    set_threads(threads)
    assert torch.get_num_threads() == torchs
    if (built := team()) is not None:
        assert built.dq_team_size() == threads
    with one_torch_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == torchs
