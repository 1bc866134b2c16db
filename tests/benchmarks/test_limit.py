"""Bytes of a step, counted by hand on a model of width 4."""

from __future__ import annotations

import pytest

from benchmarks import limit
from benchmarks.limit import StepBytes, step_bytes
from benchmarks.works import Work
from quant.layout import Architecture
from quant.scheme import Scheme
from quant.structure import UNIFORM, Structure

from .conftest import TINY

SMALL = Architecture.from_config(
    {
        **TINY,
        "vocab_size": 20,
        "d_model": 4,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 8,
        "decoder_ffn_dim": 8,
        "max_position_embeddings": 10,
        "encoder_layers": 3,
        "decoder_layers": 1,
    }
)


def test_a_step_reads_the_head_the_decoder_and_the_caches() -> None:
    counted = step_bytes(SMALL, Scheme(2, 2, 8), Work(2, 5, 3), new_tokens=9)
    head = 20 * 4 // 4 + 20 * 4
    # Six projections of 4x4 (q, k, v, out of its own attention; q, out over the source), each with scales and biases.
    projections = 6 * (16 // 4 + 4 * 4 + 4 * 4)
    feed_forward = (32 // 4 + 8 * 4 + 8 * 4) + (32 // 4 + 4 * 4 + 4 * 4)
    # Embeddings and positions are looked up, a row for a token: they are not counted.
    norms = 4 * 2 * 4 * 4
    assert counted.head == head
    assert counted.layers == projections + feed_forward + norms
    # Keys and values: 4 codes and 2 scales of 4 bytes each.
    position = 2 * (4 + 2 * 4)
    assert counted.cross_caches == 2 * 5 * position
    assert counted.own_caches == 2 * 3 * 5 * position


def test_other_bits_and_fewer_heads_are_counted_as_they_are() -> None:
    """One head of two left over the source: half of q and out, as keys and values are not read. fc1 and fc2 at 8 bits."""
    structure = Structure({"decoder.layers.0.feed_forward": 8}, {"decoder.layers.0.encoder_attn": 1})
    work = Work(2, 5, 3)
    uniform, counted = (step_bytes(SMALL, Scheme(2, 2, 8), work, 9, each) for each in (UNIFORM, structure))
    query, output = 8 // 4 + 2 * 4 + 2 * 4, 8 // 4
    assert counted.layers - uniform.layers == 2 * (32 - 32 // 4) - query - output
    assert counted.cross_caches == uniform.cross_caches // 2
    assert counted.own_caches == uniform.own_caches
    assert counted.head == uniform.head


def test_the_total_is_the_sum() -> None:
    assert StepBytes(1, 20, 300, 4000).total == 4321


def test_bandwidth_is_of_the_quickest_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0, 10.0, 12.0])
    monkeypatch.setattr(limit.time, "perf_counter", lambda: next(clock))
    assert limit._read_rate(1 << 10, times=2) == 512.0
