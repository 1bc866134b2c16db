"""The forward passes of BART and mBART over packed weights: sources to keys and values, one token a row to logits.

Same operations in the same order as the stock `transformers` classes, whose names the weights carry. BART normalizes after
each block; mBART before each block and once more at the end of each stack. Every operation treats a row (a token, or a
token's head) by itself, so that a row's bits depend neither on its batch nor on padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from quant.activations import ACTIVATIONS
from quant.artifact import Artifact
from quant.layout import DECODER_EMBEDDING, ENCODER_EMBEDDING, HEAD, LOGITS_BIAS, heads_of
from quant.numerics import Quantized, dequantize
from serving.engine.pytorch.arithmetic import Arithmetic, arithmetic_of
from serving.engine.pytorch.cache import Cache, Groups, KeyValueCache, key_mask
from serving.engine.pytorch.int8_linear import Linear

POSITION_OFFSET = 2
NORM_EPSILON = 1e-5


class Model:
    """Encoder, decoder and head of one artifact, on the device of its tensors; by default with its scheme's arithmetic."""

    def __init__(self, artifact: Artifact, arithmetic: Arithmetic | None = None) -> None:
        self.architecture = artifact.architecture
        self.arithmetic = arithmetic or arithmetic_of(artifact.scheme)
        layers = _Layers(artifact, self.arithmetic)
        self._embeddings = {
            part: _Embedding(layers, part, name)
            for part, name in (("encoder", ENCODER_EMBEDDING), ("decoder", DECODER_EMBEDDING))
        }
        self._encoder = [_EncoderLayer(layers, index) for index in range(self.architecture.encoder_layers)]
        self._decoder = [_DecoderLayer(layers, index) for index in range(self.architecture.decoder_layers)]
        final = self.architecture.normalizes_before
        self._finals = {part: layers.norm(f"model.{part}.layer_norm") if final else None for part in ("encoder", "decoder")}
        self.own_heads = layers.heads("decoder", "self_attn")
        """Of self attention in each layer of the decoder."""
        self.cross_heads = layers.heads("decoder", "encoder_attn")
        """Of attention to the source in each layer of the decoder."""
        self._head = self.arithmetic.linear([artifact.token_matrix(HEAD)], [])
        self._bias = artifact.tensor(LOGITS_BIAS) if self.architecture.add_bias_logits else None

    @property
    def head_width(self) -> int:
        """Of a head of the decoder."""
        return self.architecture.d_model // self.architecture.decoder_attention_heads

    def new_cache(self, heads: Sequence[int]) -> KeyValueCache:
        """An empty cache for attention of so many heads in each layer: `own_heads` or `cross_heads`."""
        return KeyValueCache(heads, self.head_width, self.arithmetic.cache_dtype)

    def embed(self, sources: Tensor) -> Tensor:
        """int64 [sources, padded] to what the first encoder layer takes, float32 [sources, padded, d_model]."""
        # Padding may go past the last position that the model has.
        last = self.architecture.max_position_embeddings - 1
        return self._embeddings["encoder"](sources, torch.arange(sources.shape[1], device=sources.device).clamp_(max=last))

    def encode(self, hidden: Tensor, mask: Tensor, layer: int) -> Tensor:
        """Run one encoder layer; `mask` is the sources' `key_mask`."""
        return self._encoder[layer](hidden, mask)

    def write_cross(self, hidden: Tensor, cross: Cache) -> None:
        """Keys and values of what the last encoder layer gave; they become those of the last entries of `cross`."""
        hidden = _normalized(hidden, self._finals["encoder"])
        for index, decoder_layer in enumerate(self._decoder):
            decoder_layer.write_cross(index, hidden, cross)

    def decode(self, tokens: Tensor, own: Cache, cross: Cache, groups: Groups) -> Tensor:
        """Next-token logits, float32 [rows, vocabulary], of int64 tokens [rows].

        `own` holds the rows' earlier positions, already extended by the one of `tokens`; `cross` the sources of `groups`.
        """
        hidden = self._embeddings["decoder"](tokens, own.lengths - 1)
        masks = key_mask(own.lengths, own.padded), key_mask(cross.lengths, cross.padded)
        for index, layer in enumerate(self._decoder):
            hidden = layer(index, hidden, own, cross, groups, masks)
        logits = self._head(_normalized(hidden, self._finals["decoder"]))
        return logits if self._bias is None else logits.add_(self._bias)


Norm = Callable[[Tensor], Tensor]


def _normalized(hidden: Tensor, norm: Norm | None) -> Tensor:
    return hidden if norm is None else norm(hidden)


class Floats(Protocol):
    """What holds a model's weights that are stored in floating point."""

    def tensor(self, name: str) -> Tensor:
        """The float32 tensor `name`."""


def norm_of(weights: Floats, name: str) -> Norm:
    """The layer normalization of that name."""
    weight, bias = weights.tensor(f"{name}.weight"), weights.tensor(f"{name}.bias")
    return lambda hidden: functional.layer_norm(hidden, weight.shape, weight, bias, NORM_EPSILON)


class _Layers:
    """Builds layers by the names of their weights."""

    def __init__(self, artifact: Artifact, arithmetic: Arithmetic) -> None:
        self.artifact = artifact
        self.arithmetic = arithmetic
        self.architecture = artifact.architecture
        self.activation = ACTIVATIONS[self.architecture.activation_function]

    def linear(self, *names: str) -> Linear:
        weights = [self.artifact.quantized(f"{name}.weight") for name in names]
        return self.arithmetic.linear(weights, [self.artifact.tensor(f"{name}.bias") for name in names])

    def heads(self, part: str, attention: str) -> list[int]:
        """Of an attention in each layer of a part."""
        return heads_of(self.architecture, self.artifact.structure, part, attention)

    def norm(self, name: str) -> Norm:
        return norm_of(self.artifact, name)

    def residual(self, norm: str) -> _Residual:
        return _Residual(self.norm(norm), self.architecture.normalizes_before)

    def feed_forward(self, name: str) -> Linear:
        widen, narrow = self.linear(f"{name}.fc1"), self.linear(f"{name}.fc2")
        return lambda hidden: narrow(self.activation(widen(hidden)))


class _Residual:
    """A block with its normalization and the connection around it."""

    def __init__(self, norm: Norm, norm_first: bool) -> None:
        self.norm = norm
        self.norm_first = norm_first

    def __call__(self, hidden: Tensor, block: Callable[[Tensor], Tensor]) -> Tensor:
        if self.norm_first:
            return hidden + block(self.norm(hidden))
        return self.norm(hidden + block(hidden))


class _Embedding:
    """Token and position embeddings of one stack, normalized."""

    def __init__(self, layers: _Layers, part: str, name: str) -> None:
        self.tokens = layers.artifact.token_matrix(name)
        self.scale = math.sqrt(layers.architecture.d_model) if layers.architecture.scale_embedding else 1.0
        self.positions = dequantize(layers.artifact.quantized(f"model.{part}.embed_positions.weight"))[POSITION_OFFSET:]
        self.norm = layers.norm(f"model.{part}.layernorm_embedding")

    def __call__(self, tokens: Tensor, positions: Tensor) -> Tensor:
        embedded = self.tokens.codes[tokens].float() * self.tokens.scale[tokens] * self.scale
        return self.norm(embedded + self.positions[positions])


class _EncoderLayer:
    def __init__(self, layers: _Layers, index: int) -> None:
        name = f"model.encoder.layers.{index}"
        self.arithmetic = layers.arithmetic
        self.heads = layers.heads("encoder", "self_attn")[index]
        self.scaling = (layers.architecture.d_model // layers.architecture.encoder_attention_heads) ** -0.5
        self.project = layers.linear(*(f"{name}.self_attn.{projection}_proj" for projection in "qkv"))
        self.output = layers.linear(f"{name}.self_attn.out_proj")
        self.attention_residual = layers.residual(f"{name}.self_attn_layer_norm")
        self.feed_forward = layers.feed_forward(name)
        self.final_residual = layers.residual(f"{name}.final_layer_norm")

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        hidden = self.attention_residual(hidden, lambda normed: self._attend(normed, mask))
        return self.final_residual(hidden, self.feed_forward)

    def _attend(self, hidden: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            self.arithmetic.rows(_heads(part, self.heads).transpose(1, 2)) for part in self.project(hidden).chunk(3, -1)
        )
        attended = self.arithmetic.attention(query, key, value, mask, self.scaling)
        return self.output(attended.transpose(1, 2).flatten(2))


class _DecoderLayer:
    def __init__(self, layers: _Layers, index: int) -> None:
        name = f"model.decoder.layers.{index}"
        self.arithmetic = layers.arithmetic
        self.heads = layers.heads("decoder", "self_attn")[index]
        self.cross_heads = layers.heads("decoder", "encoder_attn")[index]
        self.scaling = (layers.architecture.d_model // layers.architecture.decoder_attention_heads) ** -0.5
        self.project = layers.linear(*(f"{name}.self_attn.{projection}_proj" for projection in "qkv"))
        self.output = layers.linear(f"{name}.self_attn.out_proj")
        self.attention_residual = layers.residual(f"{name}.self_attn_layer_norm")
        self.project_query = layers.linear(f"{name}.encoder_attn.q_proj")
        self.project_source = layers.linear(f"{name}.encoder_attn.k_proj", f"{name}.encoder_attn.v_proj")
        self.cross_output = layers.linear(f"{name}.encoder_attn.out_proj")
        self.cross_residual = layers.residual(f"{name}.encoder_attn_layer_norm")
        self.feed_forward = layers.feed_forward(name)
        self.final_residual = layers.residual(f"{name}.final_layer_norm")

    def write_cross(self, index: int, encoded: Tensor, cross: Cache) -> None:
        """Keys and values of encoded sources [sources, padded, d_model], as the last entries of layer `index`."""
        key, value = (
            self.arithmetic.rows(_heads(part, self.cross_heads).transpose(1, 2))
            for part in self.project_source(encoded).chunk(2, -1)
        )
        cross.write_joined(index, key, value)

    def __call__(
        self,
        index: int,
        hidden: Tensor,
        own: Cache,
        cross: Cache,
        groups: Groups,
        masks: tuple[Tensor, Tensor],
    ) -> Tensor:
        own_mask, cross_mask = masks
        hidden = self.attention_residual(hidden, lambda normed: self._attend(index, normed, own, own_mask))
        hidden = self.cross_residual(hidden, lambda normed: self._attend_source(index, normed, cross, groups, cross_mask))
        return self.final_residual(hidden, self.feed_forward)

    def _attend(self, index: int, hidden: Tensor, own: Cache, mask: Tensor) -> Tensor:
        query, key, value = (self.arithmetic.rows(_heads(part, self.heads)) for part in self.project(hidden).chunk(3, -1))
        own.write_last(index, key, value)
        keys, values = own.layer(index)
        one_query = Quantized(query.codes.unsqueeze(2), query.scale.unsqueeze(2))
        return self.output(self.arithmetic.attention(one_query, keys, values, mask, self.scaling).flatten(1))

    def _attend_source(self, index: int, hidden: Tensor, cross: Cache, groups: Groups, mask: Tensor) -> Tensor:
        query = self.arithmetic.rows(groups.grouped(_heads(self.project_query(hidden), self.cross_heads)))
        attended = self.arithmetic.attention(query, *cross.layer(index), mask, self.scaling)
        return self.cross_output(groups.ungrouped(attended).flatten(1))


def _heads(values: Tensor, heads: int) -> Tensor:
    """[..., heads * width] to [..., heads, width]."""
    return values.view(*values.shape[:-1], heads, -1)
