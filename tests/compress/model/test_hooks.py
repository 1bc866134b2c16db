import pytest
import torch
from torch import nn

from compress.model.hooks import hooked


def test_hooks_are_gone_at_the_end_also_where_an_error_ends_it() -> None:
    layer = nn.Linear(2, 2)
    calls: list[int] = []

    def run_and_fail() -> None:
        with hooked([layer.register_forward_hook(lambda *_: calls.append(1))]):
            layer(torch.zeros(1, 2))
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        run_and_fail()
    layer(torch.zeros(1, 2))
    assert calls == [1]
