"""Encoder and decoder layers over packed weights: the flow of serving/engine/pytorch/model.py, kernel by kernel.

Tokens of all sources lie one after another, without padding. BART normalizes after each block, mBART before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quant.activations import ACTIVATIONS
from quant.layout import Architecture
from serving.engine.native.attention import Attend
from serving.engine.native.batch import Batch
from serving.engine.native.buffers import Buffers
from serving.engine.native.caches import DecoderHeads, Heads
from serving.engine.native.library import kernels
from serving.engine.native.linear import Codes, PackedLinear
from serving.engine.native.weights import Weights
from serving.engine.pytorch.model import NORM_EPSILON, POSITION_OFFSET

CHUNK = 128
"""Tokens that go through a feed-forward block together: its wide values stay in the second-level cache."""

Block = Callable[[Tensor, Tensor], object]
"""(input, hidden): adds the block's output to hidden values in place, both float32 [tokens, d_model]."""

_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": torch._C._nn.gelu_,  # type: ignore[attr-defined]
    "gelu_python": torch._C._nn.gelu_,  # type: ignore[attr-defined]
    "relu": torch.relu_,
    "tanh": torch.tanh_,
}
"""Activation functions, with the bits of those in quant/activations.py, that need no memory of their own."""


class Norm:
    """A layer normalization, with the bits of PyTorch's."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight.contiguous(), bias.contiguous()
        self._normalize = kernels().dq_normalize

    def __call__(self, hidden: Tensor, out: Tensor) -> Tensor:
        """float32 [tokens, d_model] to `out`, which may be `hidden`; both contiguous."""
        given = (*hidden.shape, self._weight.data_ptr(), self._bias.data_ptr(), NORM_EPSILON)
        self._normalize(hidden.data_ptr(), *given, out.data_ptr())
        return out


class Builder:
    """Builds layers by the names of their weights."""

    def __init__(self, architecture: Architecture, weights: Weights, buffers: Buffers) -> None:
        self.architecture = architecture
        self.weights = weights
        self.buffers = buffers
        name = architecture.activation_function
        self.activation = _IN_PLACE.get(name, ACTIVATIONS[name])

    def linear(self, *names: str) -> PackedLinear:
        return self.weights.linear(*names)

    def norm(self, name: str) -> Norm:
        return Norm(self.weights.tensor(f"{name}.weight"), self.weights.tensor(f"{name}.bias"))

    def around(self, norm: str) -> Callable[[Tensor, Block], None]:
        """The normalization of a block, and the connection around it; hidden values change in place."""
        normalize, buffers = self.norm(norm), self.buffers

        def before(hidden: Tensor, block: Block) -> None:
            block(normalize(hidden, buffers.floats("normed", *hidden.shape)), hidden)

        def after(hidden: Tensor, block: Block) -> None:
            block(hidden, hidden)
            normalize(hidden, hidden)

        return before if self.architecture.normalizes_before else after

    def feed_forward(self, name: str) -> Block:
        widen, narrow = self.linear(f"{name}.fc1"), self.linear(f"{name}.fc2")
        activation, buffers = self.activation, self.buffers

        def through(normed: Tensor, hidden: Tensor) -> None:
            wide = widen(normed, buffers.floats("wide", normed.shape[0], widen.rows))
            narrow(activation(wide), hidden, hidden)

        def run(normed: Tensor, hidden: Tensor) -> None:
            if hidden.shape[0] <= CHUNK:
                # A decode step is spared the cutting.
                through(normed, hidden)
            else:
                for parts in zip(torch.split(normed, CHUNK), torch.split(hidden, CHUNK), strict=True):
                    through(*parts)

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

    def __call__(self, hidden: Tensor, keys: KeyWriter, attend: Attend) -> None:
        """Hidden values, float32 [tokens, d_model], become those of the next layer."""

        def attention(normed: Tensor, hidden: Tensor) -> None:
            width = self._output.columns
            projected = self._project(normed, self._buffers.floats("projected", normed.shape[0], 3 * width))
            keys(0, self._heads, projected[:, width:], projected[:, 2 * width :], 3 * width)
            attended = self._buffers.floats("attended", normed.shape[0], width)
            attend(0, self._heads, projected, 3 * width, attended)
            self._output(attended, hidden, hidden)

        self._around_attention(hidden, attention)
        self._around_feed_forward(hidden, self._feed_forward)


class DecoderLayer:
    def __init__(self, builder: Builder, index: int, heads: DecoderHeads) -> None:
        name = f"model.decoder.layers.{index}"
        self._index = index
        self._own_heads, self._cross_heads = heads.own[index], heads.cross[index]
        self._buffers = builder.buffers
        self._attend_to_own = kernels().dq_own_attend
        self._project = builder.linear(*(f"{name}.self_attn.{projection}_proj" for projection in "qkv"))
        self._output = builder.linear(f"{name}.self_attn.out_proj")
        self._around_attention = builder.around(f"{name}.self_attn_layer_norm")
        self._project_query = builder.linear(f"{name}.encoder_attn.q_proj")
        self._project_source = builder.linear(f"{name}.encoder_attn.k_proj", f"{name}.encoder_attn.v_proj")
        self._cross_output = builder.linear(f"{name}.encoder_attn.out_proj")
        self._around_cross = builder.around(f"{name}.encoder_attn_layer_norm")
        self._feed_forward = builder.feed_forward(name)
        self._around_feed_forward = builder.around(f"{name}.final_layer_norm")

    def write_cross(self, encoded: Codes, keys: KeyWriter) -> None:
        """Keys and values of encoded sources, into their blocks of this layer."""
        width = self._cross_output.columns
        projected = self._project_source.of_codes(encoded, self._buffers.floats("projected", encoded.count, 2 * width))
        keys(self._index, self._cross_heads, projected, projected[:, width:], 2 * width)

    def __call__(self, hidden: Tensor, batch: Batch) -> None:
        """Hidden values of one position of each row, float32 [rows, d_model], become those of the next layer."""

        def attention(normed: Tensor, hidden: Tensor) -> None:
            heads, rows, width = self._own_heads, normed.shape[0], self._output.columns
            projected = self._project(normed, self._buffers.floats("projected", rows, 3 * width))
            attended = self._buffers.floats("attended", rows, width)
            own = (batch.own_rows_address, rows, heads.before, heads.count, heads.width)
            self._attend_to_own(*own, projected.data_ptr(), heads.scaling, attended.data_ptr())
            self._output(attended, hidden, hidden)

        def cross_attention(normed: Tensor, hidden: Tensor) -> None:
            rows, width = normed.shape[0], self._cross_output.columns
            query = self._project_query(normed, self._buffers.floats("query", rows, width))
            attended = self._buffers.floats("attended", rows, width)
            batch.attend(self._index, self._cross_heads, query, width, attended)
            self._cross_output(attended, hidden, hidden)

        self._around_attention(hidden, attention)
        self._around_cross(hidden, cross_attention)
        self._around_feed_forward(hidden, self._feed_forward)


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
        positions = builder.weights.positions(f"model.{part}.embed_positions.weight")
        self._position_codes, self._position_scale = positions.codes[POSITION_OFFSET:], positions.scale[POSITION_OFFSET:]
        self._norm = builder.norm(f"model.{part}.layernorm_embedding")
        self._ids = np.empty(0, np.int64)
        self._embed = kernels().dq_embed

    def __call__(self, tokens: Sequence[int], positions: NDArray[np.int64], out: Tensor) -> Tensor:
        """Tokens and where each stands, contiguous, to `out`, float32 [tokens, d_model]."""
        count = len(tokens)
        if len(self._ids) < count:
            self._ids = np.empty(count, np.int64)
        self._ids[:count] = tokens
        given = self._tokens.address, self._ids.ctypes.data, positions.ctypes.data, count, self._scale
        self._embed(*given, self._position_codes.data_ptr(), self._position_scale.data_ptr(), out.data_ptr())
        return self._norm(out, out)
