"""Encoder and decoder layers over packed weights: the flow of serving/engine/pytorch/model.py, kernel by kernel.

Tokens of all sources lie one after another, without padding. BART normalizes after each block, mBART before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from quant.activations import ACTIVATIONS
from quant.layout import Architecture
from serving.engine.native.attention import Attend
from serving.engine.native.batch import Batch
from serving.engine.native.buffers import Buffers
from serving.engine.native.caches import DecoderHeads, Heads
from serving.engine.native.library import kernels
from serving.engine.native.linear import PackedLinear
from serving.engine.native.weights import Weights
from serving.engine.pytorch.model import norm_of

CHUNK = 128
"""Tokens that go through a feed-forward block together: its wide values stay in the second-level cache."""

Block = Callable[[Tensor, Tensor], Tensor]
"""(input, residual) to the block's output with the residual added, both float32 [tokens, d_model]."""


class Builder:
    """Builds layers by the names of their weights."""

    def __init__(self, architecture: Architecture, weights: Weights, buffers: Buffers) -> None:
        self.architecture = architecture
        self.weights = weights
        self.buffers = buffers
        self.activation = ACTIVATIONS[architecture.activation_function]

    def linear(self, *names: str) -> PackedLinear:
        return self.weights.linear(*names)

    def norm(self, name: str) -> Callable[[Tensor], Tensor]:
        return norm_of(self.weights, name)

    def around(self, norm: str) -> Callable[[Tensor, Block], Tensor]:
        """The normalization of a block, and the connection around it."""
        normalize = self.norm(norm)
        if self.architecture.normalizes_before:
            return lambda hidden, block: block(normalize(hidden), hidden)
        return lambda hidden, block: normalize(block(hidden, hidden))

    def feed_forward(self, name: str) -> Block:
        widen, narrow = self.linear(f"{name}.fc1"), self.linear(f"{name}.fc2")
        activation, buffers = self.activation, self.buffers

        def through(hidden: Tensor, out: Tensor, residual: Tensor) -> None:
            wide = widen(hidden, buffers.floats("wide", hidden.shape[0], widen.rows))
            narrow(activation(wide), out, residual)

        def run(hidden: Tensor, residual: Tensor) -> Tensor:
            out = torch.empty_like(residual)
            if hidden.shape[0] <= CHUNK:
                # A decode step is spared the cutting.
                through(hidden, out, residual)
            else:
                for parts in zip(*(torch.split(each, CHUNK) for each in (hidden, out, residual)), strict=True):
                    through(*parts)
            return out

        return run


class EncoderLayer:
    def __init__(self, builder: Builder, index: int, heads: Heads) -> None:
        name = f"model.encoder.layers.{index}"
        self._heads = heads
        self._buffers = builder.buffers
        self._project = builder.linear(*(f"{name}.self_attn.{projection}_proj" for projection in "qkv"))
        self._output = builder.linear(f"{name}.self_attn.out_proj")
        self._around_attention = builder.around(f"{name}.self_attn_layer_norm")
        self._feed_forward = builder.feed_forward(name)
        self._around_feed_forward = builder.around(f"{name}.final_layer_norm")

    def __call__(self, hidden: Tensor, keys: KeyWriter, attend: Attend) -> Tensor:
        def attention(normed: Tensor, residual: Tensor) -> Tensor:
            width = self._output.columns
            projected = self._project(normed, self._buffers.floats("projected", normed.shape[0], 3 * width))
            keys(0, self._heads, projected[:, width:], projected[:, 2 * width :], 3 * width)
            attended = self._buffers.floats("attended", normed.shape[0], width)
            attend(0, self._heads, projected, 3 * width, attended)
            return self._output(attended, torch.empty_like(residual), residual)

        return self._around_feed_forward(self._around_attention(hidden, attention), self._feed_forward)


class DecoderLayer:
    def __init__(self, builder: Builder, index: int, heads: DecoderHeads) -> None:
        name = f"model.decoder.layers.{index}"
        self._index = index
        self._own_heads, self._cross_heads = heads.own[index], heads.cross[index]
        self._buffers = builder.buffers
        self._kernels = kernels()
        self._project = builder.linear(*(f"{name}.self_attn.{projection}_proj" for projection in "qkv"))
        self._output = builder.linear(f"{name}.self_attn.out_proj")
        self._around_attention = builder.around(f"{name}.self_attn_layer_norm")
        self._project_query = builder.linear(f"{name}.encoder_attn.q_proj")
        self._project_source = builder.linear(f"{name}.encoder_attn.k_proj", f"{name}.encoder_attn.v_proj")
        self._cross_output = builder.linear(f"{name}.encoder_attn.out_proj")
        self._around_cross = builder.around(f"{name}.encoder_attn_layer_norm")
        self._feed_forward = builder.feed_forward(name)
        self._around_feed_forward = builder.around(f"{name}.final_layer_norm")

    def write_cross(self, encoded: Tensor, keys: KeyWriter) -> None:
        """Keys and values of encoded sources [tokens, d_model], into their blocks of this layer."""
        width = self._cross_output.columns
        projected = self._project_source(encoded, self._buffers.floats("projected", encoded.shape[0], 2 * width))
        keys(self._index, self._cross_heads, projected, projected[:, width:], 2 * width)

    def __call__(self, hidden: Tensor, batch: Batch) -> Tensor:
        """One position of each row, float32 [rows, d_model]."""

        def attention(normed: Tensor, residual: Tensor) -> Tensor:
            heads, rows, width = self._own_heads, normed.shape[0], self._output.columns
            projected = self._project(normed, self._buffers.floats("projected", rows, 3 * width))
            attended = self._buffers.floats("attended", rows, width)
            own = (batch.own_rows_address, rows, heads.before, heads.count, heads.width)
            self._kernels.dq_own_attend(*own, projected.data_ptr(), heads.scaling, attended.data_ptr())
            return self._output(attended, torch.empty_like(residual), residual)

        def cross_attention(normed: Tensor, residual: Tensor) -> Tensor:
            rows, width = normed.shape[0], self._cross_output.columns
            query = self._project_query(normed, self._buffers.floats("query", rows, width))
            attended = self._buffers.floats("attended", rows, width)
            batch.attend(self._index, self._cross_heads, query, width, attended)
            return self._cross_output(attended, torch.empty_like(residual), residual)

        hidden = self._around_attention(hidden, attention)
        hidden = self._around_cross(hidden, cross_attention)
        return self._around_feed_forward(hidden, self._feed_forward)


class KeyWriter:
    """Writes keys and values of tokens into the blocks of their sources."""

    def __init__(self, blocks: Sequence[Sequence[int]], lengths: Sequence[int]) -> None:
        """`blocks` are addresses, [layers][sources]."""
        self._blocks = torch.tensor(blocks, dtype=torch.int64)
        self._starts = torch.tensor([0, *lengths], dtype=torch.int64).cumsum(0)
        self._sources = len(lengths)

    def __call__(self, layer: int, heads: Heads, keys: Tensor, values: Tensor, stride: int) -> None:
        """Keys and values are the first columns of rows `stride` floats wide, a row a token; `heads` are the layer's."""
        kernels().dq_write_keys(
            self._blocks[layer].data_ptr(),
            self._starts.data_ptr(),
            self._sources,
            heads.count,
            heads.width,
            keys.data_ptr(),
            values.data_ptr(),
            stride,
        )


class Embedding:
    """Token and position embeddings of one stack, normalized."""

    def __init__(self, builder: Builder, part: str, tokens: PackedLinear, scale: float) -> None:
        self._tokens = tokens
        self._scale = scale
        self._positions = builder.weights.positions(f"model.{part}.embed_positions.weight")
        self._norm = builder.norm(f"model.{part}.layernorm_embedding")

    def __call__(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """int64 [tokens] and their rows of the position embeddings to float32 [tokens, d_model]."""
        out = torch.empty(tokens.shape[0], self._tokens.columns)
        kernels().dq_embed(
            self._tokens.address,
            tokens.data_ptr(),
            positions.data_ptr(),
            tokens.shape[0],
            self._scale,
            self._positions.codes.data_ptr(),
            self._positions.scale.data_ptr(),
            out.data_ptr(),
        )
        return self._norm(out)
