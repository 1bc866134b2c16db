"""The kernels around PyTorch's softmax have the bits of `quant.numerics.quantized_attention`."""

from __future__ import annotations

import pytest
import torch

from quant.numerics import quantize_activation, quantized_attention
from serving.engine.native.attention import MOST_SCORES, Attend, spans
from serving.engine.native.batch import Batch
from serving.engine.native.buffers import Buffers
from serving.engine.native.caches import DecoderHeads, Heads, SourceCache
from serving.engine.native.layers import KeyWriter
from serving.engine.native.library import kernels
from serving.engine.native.pages import PagePool
from serving.engine.padding import padded_length
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
    for span in spans(blocks, lengths, heads):
        Attend(span, Buffers())(0, heads, projected, 3 * width, out)
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
    heads, buffers = DecoderHeads([1], [1], 16), Buffers()
    batch = Batch(heads, buffers)
    batch.join([SourceCache(Source([7], 1, length), heads, PagePool())])
    projected = torch.randn(length, 48) * 0.05
    projected[:, 32:] += 1
    scores, out = torch.empty(1, padded_length(length)), torch.empty(1, 16)
    scaling = heads.own[0].scaling
    for each in projected:
        batch.advance()
        own = (batch.own_rows_address, 1, 0, 1, 16)
        kernels().dq_own_scores(*own, each.data_ptr(), scaling, scores.data_ptr(), batch.padded)
    probabilities = torch.softmax(scores, -1)
    kernels().dq_own_weigh(*own, probabilities.data_ptr(), batch.padded, out.data_ptr())
    assert torch.equal(out, expected(heads.own[0], projected)[-1:])


def test_spans_cover_every_query_once() -> None:
    """Neighbours of equal padded length share a span, a source with many scores is cut."""
    heads = Heads(16, 64)
    lengths = [16, 10, 17, 600, 3]
    found = spans(list(range(5)), lengths, heads)
    assert [span.blocks.tolist() for span in found[:2]] == [[[0, 1]], [[2]]]
    queries = [query for span in found for query in range(span.starts[0], span.starts[-1])]
    assert queries == list(range(sum(lengths)))
    longest = [span for span in found if span.padded == 608]
    assert len(longest) > 1
    assert all(span.queries * heads.count * span.padded <= MOST_SCORES for span in longest)
