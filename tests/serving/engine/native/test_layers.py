"""Normalization with PyTorch's bits, a source quantized once, and steps that take no memory."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from quant.numerics import quantize
from serving.engine.native.buffers import Buffers
from serving.engine.native.layers import NORM_EPSILON, Norm
from serving.engine.native.linear import Codes, PackedLinear
from serving.engine.native.runner import NativeRunner
from serving.engine.runner import Source, Wanted
from serving.engine.threads import set_threads


@given(
    columns=st.one_of(st.integers(1, 140), st.sampled_from([256, 512, 768, 1000, 1024, 2048, 4099])),
    rows=st.sampled_from([1, 3]),
    size=st.sampled_from([1e-6, 1.0, 1e3]),
    shift=st.sampled_from([0.0, 1.0, -30.0]),
    seed=st.integers(0, 2**31),
)
def test_normalization_has_the_bits_of_pytorch(columns: int, rows: int, size: float, shift: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = shift + size * torch.randn(rows, columns, generator=generator)
    weight, bias = torch.randn(columns, generator=generator), torch.randn(columns, generator=generator)
    expected = functional.layer_norm(hidden, (columns,), weight, bias, NORM_EPSILON)
    norm = Norm(weight, bias)
    assert torch.equal(norm(hidden, torch.empty_like(hidden)), expected)
    assert torch.equal(norm(hidden, hidden), expected)


def test_normalization_on_several_threads() -> None:
    hidden, weight, bias = torch.randn(300, 256), torch.randn(256), torch.randn(256)
    set_threads(2)
    found = Norm(weight, bias)(hidden, torch.empty_like(hidden))
    assert torch.equal(found, functional.layer_norm(hidden, (256,), weight, bias, NORM_EPSILON))


def test_equal_values_and_what_is_no_number() -> None:
    norm = Norm(torch.ones(40), torch.full((40,), 0.5))
    assert norm(torch.full((2, 40), 7.0), torch.empty(2, 40)).eq(0.5).all()
    rows = torch.randn(2, 40)
    rows[0, 38] = torch.nan
    found = norm(rows, torch.empty(2, 40))
    assert found[0].isnan().all()
    assert not found[1].isnan().any()


@pytest.mark.parametrize("count", [1, 9, 200])
def test_tokens_that_are_quantized_once_have_the_same_products(count: int) -> None:
    """Also on two threads, with an odd number of columns."""
    set_threads(2)
    tokens = torch.randn(count, 301)
    codes = Codes(tokens, Buffers())
    for bits in (2, 8):
        layer = PackedLinear([quantize(torch.randn(700, 301), bits, "row")], [torch.randn(700)], bits)
        expected = layer(tokens, torch.empty(count, 700))
        assert torch.equal(layer.of_codes(codes, torch.empty(count, 700)), expected)


@pytest.mark.parametrize("architecture", ["bart", "mbart"])
@pytest.mark.parametrize("count", [2, 203])
def test_a_step_takes_no_memory(architecture: str, count: int, build_student: Any) -> None:
    """Of tensors not a byte after the first steps, and of arrays no large one; whether candidates are found in blocks of
    logits or in whole rows of them."""
    runner = NativeRunner(build_student(architecture, "2-2-8").artifact)
    rows, positions = 16, 40
    runner.begin([Source([5] * 20, 1, positions)] * rows)
    assert runner.encode(99)
    draw, wanted = random.Random(0), [Wanted(count, log_probabilities=True)] * rows

    def steps(number: int) -> None:
        for _ in range(number):
            runner.decode([draw.randrange(4, 203) for _ in range(rows)], wanted)
            runner.select([[0]] * rows)

    steps(3)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as taken:
        steps(10)
    assert [(event.key, event.self_cpu_memory_usage) for event in taken.key_averages() if event.self_cpu_memory_usage] == []
    tracemalloc.start()
    steps(2)
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    steps(5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Lists of the rows and the views of a few arrays; values and tokens of all candidates are many times as much.
    assert peak - before < 16_000


def test_a_slice_of_an_encoding_takes_no_memory(build_student: Any) -> None:
    """Once as much has been encoded before."""
    runner = NativeRunner(build_student("mbart", "2-2-8").artifact)
    for _ in range(2):
        runner.begin([Source([5] * 50, 1, 4)])
        assert runner.encode(99)
    runner.begin([Source([5] * 50, 1, 4)])
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as taken:
        assert not runner.encode(1)
    assert [(event.key, event.self_cpu_memory_usage) for event in taken.key_averages() if event.self_cpu_memory_usage] == []
