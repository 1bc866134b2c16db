from __future__ import annotations

from typing import Any

import pytest

from quant.structure import Structure
from serving.engine.pytorch.model import Model
from serving.engine.pytorch.runner import PyTorchRunner
from serving.engine.runner import Source, Wanted
from tests.serving.engine.lists import told

SOURCES = [Source((5, 6, 7, 2), 1, 4), Source((*range(10, 30), 2), 3, 4)]


@pytest.fixture
def runner(build_student: Any) -> PyTorchRunner:
    return PyTorchRunner(Model(build_student("mbart", "2-2-8").artifact))


def test_caches_by_hand(runner: PyTorchRunner) -> None:
    """2 layers of keys and values, each of 64 code bytes and 4 scales of 4 bytes a position: 320 bytes.

    21 source tokens are 32 positions, and 17 decoder positions 32 for each of 3 rows.
    """
    assert runner.cache_bytes(SOURCES[0], 4) == 320 * (16 + 16)
    assert runner.cache_bytes(SOURCES[1], 16) == 320 * (32 + 3 * 16)
    assert runner.cache_bytes(SOURCES[1], 17) == 320 * (32 + 3 * 32)


@pytest.mark.parametrize("heads", [{}, {"decoder.layers.0.self_attn": 1, "decoder.layers.1.encoder_attn": 3}])
def test_caches_are_as_large_as_they_are_said_to_be(build_structured: Any, heads: dict[str, int]) -> None:
    runner = PyTorchRunner(Model(build_structured("mbart", "2-2-8", Structure(heads=heads)).artifact))
    source = Source(SOURCES[1].token_ids, 3, 17)
    runner.begin([source])
    runner.encode(2)
    runner.decode([2], [Wanted(1)])
    runner.select([[0, 0, 0]])
    for _ in range(16):
        runner.decode([2, 3, 4], [Wanted(1)])
    tensors = [*runner._own._tensors, *runner._cross._tensors]
    assert sum(tensor.numel() * tensor.itemsize for tensor in tensors) == runner.cache_bytes(source, 17)


def test_encoding_in_slices_gives_the_same_bits(runner: PyTorchRunner) -> None:
    """Also when others are decoded between two slices."""
    wanted = [Wanted(3, normalizers=True)] * 2
    runner.begin(SOURCES)
    assert runner.encode(2)
    expected = runner.decode([2, 2], wanted)
    runner.clear()
    runner.begin(SOURCES[:1])
    assert runner.encode(9)
    runner.begin(SOURCES)
    assert not runner.encode(1)
    assert runner.rows == 1
    runner.decode([2], wanted[:1])
    assert runner.encode(1)
    assert runner.rows == 3
    runner.select([[], [0], [0]])
    assert told(runner.decode([2, 2], wanted)) == told(expected)


def test_what_is_abandoned_never_joins(runner: PyTorchRunner) -> None:
    runner.begin(SOURCES)
    runner.encode(1)
    runner.abandon()
    with pytest.raises(RuntimeError, match="nothing is being encoded"):
        runner.encode(1)
    runner.begin(SOURCES[:1])
    assert runner.encode(2)
    assert runner.rows == 1


def test_clearing_forgets_what_was_begun_too(runner: PyTorchRunner) -> None:
    runner.begin(SOURCES)
    runner.encode(2)
    runner.begin(SOURCES)
    runner.clear()
    assert runner.rows == 0
    with pytest.raises(RuntimeError, match="nothing is being encoded"):
        runner.encode(1)
