"""Attention has the bits of `quant.numerics.quantized_attention`, PyTorch's softmax among them."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch

from quant.numerics import quantize_activation, quantized_attention
from serving.engine.native.attention import attend_to_themselves
from serving.engine.native.batch import Batch
from serving.engine.native.caches import DecoderHeads, Heads, SourceCache
from serving.engine.native.layers import KeyWriter
from serving.engine.native.library import kernels
from serving.engine.native.pages import PagePool
from serving.engine.runner import Source
from serving.engine.threads import set_threads


def expected(heads: Heads, projected: torch.Tensor) -> torch.Tensor:
    """Of one source: [tokens, 3 * width] to [tokens, width]."""
    parts = (part.view(-1, heads.count, heads.width).transpose(0, 1)[None] for part in projected.chunk(3, 1))
    rows = [quantize_activation(part) for part in parts]
    attended = quantized_attention(rows[0], rows[1], rows[2], None, heads.scaling)
    return attended[0].transpose(0, 1).flatten(1)


def attend(heads: Heads, lengths: list[int], projected: torch.Tensor) -> torch.Tensor:
    width = heads.count * heads.width
    memory = [torch.full((heads.block_bytes(length),), 0xAB, dtype=torch.uint8) for length in lengths]
    blocks = [each.data_ptr() for each in memory]
    KeyWriter([blocks], lengths)(0, heads, projected[:, width:], projected[:, 2 * width :], 3 * width)
    out = torch.full((sum(lengths), width), torch.nan)
    attend_to_themselves(blocks, lengths)(0, heads, projected, 3 * width, out)
    return out


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("count", "width"), [(3, 64), (4, 16), (2, 20), (2, 72)])
def test_bits_of_the_reference(count: int, width: int, threads: int) -> None:
    set_threads(threads)
    heads = Heads(count, width)
    lengths = [1, 16, 16, 5, 40, 33, 130]
    projected = torch.randn(sum(lengths), 3 * count * width)
    together = attend(heads, lengths, projected)
    separate = [expected(heads, part) for part in projected.split(lengths)]
    assert torch.equal(together, torch.cat(separate))


def test_a_zero_token_and_a_zero_head() -> None:
    heads = Heads(2, 32)
    projected = torch.randn(20, 192)
    projected[3] = 0
    projected[:, 128:160] = 0
    assert torch.equal(attend(heads, [20], projected), expected(heads, projected))


@pytest.mark.parametrize("values", [-1.0, 1.0])
@pytest.mark.parametrize("keys", [-1.0, 1.0])
@pytest.mark.parametrize("queries", [-1.0, 1.0])
def test_extreme_codes_do_not_saturate(queries: float, keys: float, values: float) -> None:
    """Every code of queries, keys and values is -127 or 127, and of probabilities, which are all the same, 127."""
    heads = Heads(2, 64)
    projected = torch.tensor([queries, keys, values]).repeat_interleave(128).expand(40, 384).contiguous()
    assert torch.equal(attend(heads, [40], projected), expected(heads, projected))


@pytest.mark.parametrize("length", [1041, 2048, 4096])
def test_many_keys(length: int) -> None:
    """Nearly equal scores and values of one sign: sums of codes are beyond 2^24, where float32 is no longer exact."""
    heads = Heads(1, 16)
    projected = torch.randn(length, 48) * 0.05
    projected[:, 32:] += 1
    assert torch.equal(attend(heads, [length], projected), expected(heads, projected))


@pytest.mark.parametrize("length", [1041, 2048, 4096])
def test_many_own_positions(length: int) -> None:
    """The same over a row's own positions, of which the last one is asked."""
    heads = DecoderHeads([1], [1], 16)
    batch = Batch(heads)
    batch.join([SourceCache(Source([7], 1, length), heads, PagePool())])
    projected = torch.randn(length, 48) * 0.05
    projected[:, 32:] += 1
    out, scaling = torch.empty(1, 16), heads.own[0].scaling
    for each in projected:
        batch.advance()
        kernels().dq_own_attend(batch.own_rows_address, 1, 0, 1, 16, each.data_ptr(), scaling, out.data_ptr())
    assert torch.equal(out, expected(heads.own[0], projected)[-1:])


@pytest.mark.parametrize("size", [0.01, 1.0, 30.0, 1e4, 1e18])
def test_the_softmax_of_any_scores(size: float) -> None:
    """Nearly equal, and of which all but one become nothing."""
    heads = Heads(2, 16)
    projected = torch.randn(70, 96)
    projected[:, :64] *= size
    assert torch.equal(attend(heads, [70], projected), expected(heads, projected))


@pytest.mark.parametrize("fault", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_stays_none(fault: float) -> None:
    """In a query, of its row; in a key or a value, of every row. Other heads have nothing of it."""
    heads = Heads(2, 16)
    for column, rows in ((3, [5]), (32 + 3, range(20)), (64 + 3, range(20))):
        projected = torch.randn(20, 96)
        projected[5, column] = fault
        found, right = attend(heads, [20], projected), expected(heads, projected)
        assert found[list(rows), :16].isnan().all()
        assert torch.equal(found.nan_to_num(7), right.nan_to_num(7))


# Sums of other vectors: what PyTorch computes where there is no AVX-512.
EIGHT_LANES = """
import pytest, sys
sys.exit(pytest.main(["-q", "-n", "0", "-p", "no:cacheprovider", "-k", "bits_of_the_reference or any_scores", sys.argv[1]]))
"""


def test_bits_of_the_reference_where_pytorch_has_smaller_vectors() -> None:
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("it has them here")
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "avx2"}
    run = subprocess.run([sys.executable, "-c", EIGHT_LANES, __file__], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stdout
