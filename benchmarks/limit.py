"""How fast a decode step could be at best: the bytes that it reads, over the bandwidth that this machine has for them.

Every byte of the decoder's weights and of the caches is read once a step and used for few products when the batch is small,
so that the memory (or, for a packed student, the last-level cache) is the limit. Large batches use each byte many times:
their limit is arithmetic, and lies above this one. Embeddings looked up, activations and logits are too few to count.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from benchmarks.works import Work
from quant.layout import EMBEDDING, Architecture, heads_of, model_layout
from quant.scheme import Scheme
from quant.structure import UNIFORM, Structure

SCALE_BYTES = 4
"""In memory, a scale is a float32."""
MEMORY_BUFFER = 256 << 20
"""Bytes; beyond any cache of the processors that this is meant for."""
CACHE_BUFFER = 16 << 20
"""Bytes; about what a step of a packed student reads."""


class StepBytes(NamedTuple):
    """What a decode step reads, by what it reads it for."""

    head: int
    layers: int
    cross_caches: int
    own_caches: int
    """On average over the steps, which add a position each."""

    @property
    def total(self) -> int:
        return sum(self)


class Bandwidth(NamedTuple):
    """Bytes a second that the threads read together."""

    memory: float
    cache: float


def step_bytes(
    architecture: Architecture, scheme: Scheme, work: Work, new_tokens: int, structure: Structure = UNIFORM
) -> StepBytes:
    """Bytes a step, weights at their bits (ternary in 2-bit fields), caches of int8 codes with a scale a token and head."""
    # Keys and values of the source are computed when it is encoded, not in the steps.
    computed_once = ("encoder_attn.k_proj", "encoder_attn.v_proj")
    head = layers = 0
    for tensor in model_layout(architecture, scheme, structure):
        size = 4 * tensor.count if tensor.bits is None else tensor.count * tensor.bits // 8 + SCALE_BYTES * tensor.shape[0]
        if tensor.name == EMBEDDING:
            head = size
        elif tensor.part == "decoder" and not any(name in tensor.name for name in computed_once):
            layers += size
    # Keys and values of a position in all layers.
    head_bytes = 2 * (architecture.d_model // architecture.decoder_attention_heads + SCALE_BYTES)
    cross, own = (
        head_bytes * sum(heads_of(architecture, structure, "decoder", attention))
        for attention in ("encoder_attn", "self_attn")
    )
    rows = work.batch * work.beams
    return StepBytes(head, layers, work.batch * work.source_tokens * cross, rows * (new_tokens + 1) * own // 2)


def measure_bandwidth() -> Bandwidth:
    """Sums over a buffer, on torch's threads."""
    return Bandwidth(_read_rate(MEMORY_BUFFER, 10), _read_rate(CACHE_BUFFER, 100))


def _read_rate(size: int, times: int) -> float:
    """The best of some readings: what disturbs makes them slower only."""
    buffer = torch.ones(size // 8, dtype=torch.int64)
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        buffer.sum()
        seconds.append(time.perf_counter() - started)
    return size / min(seconds)
