"""The native runner: packed weights, caches that are never moved, tokens of all sources side by side without padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from quant.artifact import Artifact
from quant.layout import DECODER_EMBEDDING, ENCODER_EMBEDDING, HEAD, Architecture, heads_of
from serving.engine.native.attention import Attend, attend_to_themselves
from serving.engine.native.batch import Batch
from serving.engine.native.buffers import Buffers
from serving.engine.native.caches import DecoderHeads, Heads, SourceCache, page_positions
from serving.engine.native.layers import Builder, DecoderLayer, Embedding, EncoderLayer, KeyWriter
from serving.engine.native.library import UnavailableError, kernels
from serving.engine.native.linear import Codes
from serving.engine.native.pages import PagePool
from serving.engine.native.selection import Selection
from serving.engine.native.weights import ArtifactWeights, Weights
from serving.engine.runner import Candidates, Source, Wanted
from serving.engine.threads import one_torch_thread

GROUP = 512
"""Tokens that go through a layer together, or one longer source: what they need stays in the last-level cache."""


class _Group(NamedTuple):
    """Sources that go through the encoder's layers together."""

    tokens: slice
    sources: slice
    keys: KeyWriter
    attend: Attend


@dataclass
class _Encoding:
    """Sources on their way through the encoder."""

    sources: list[SourceCache]
    hidden: Tensor
    groups: list[_Group]
    layers_done: int = 0


class NativeRunner:
    """A model over the kernels."""

    def __init__(self, artifact: Artifact, weights: Weights | None = None) -> None:
        """`weights` are the artifact's where they lie packed already. Raises UnavailableError where `check_runs` does."""
        check_runs(artifact)
        weights = ArtifactWeights(artifact) if weights is None else weights
        architecture = artifact.architecture
        self._architecture = architecture
        own, cross = (heads_of(architecture, artifact.structure, "decoder", name) for name in ("self_attn", "encoder_attn"))
        self._decoder_heads = DecoderHeads(own, cross, architecture.d_model // architecture.decoder_attention_heads)
        width = architecture.d_model // architecture.encoder_attention_heads
        encoder_heads = heads_of(architecture, artifact.structure, "encoder", "self_attn")
        self._most_encoder_heads = Heads(max(encoder_heads), width)
        self._buffers = Buffers()
        builder = Builder(architecture, weights, self._buffers)
        self._select = Selection(weights.token_matrix(HEAD), self._buffers)
        scale = math.sqrt(architecture.d_model) if architecture.scale_embedding else 1.0
        self._embed_source = Embedding(builder, "encoder", weights.token_matrix(ENCODER_EMBEDDING), scale)
        self._embed = Embedding(builder, "decoder", weights.token_matrix(DECODER_EMBEDDING), scale)
        self._encoder = [EncoderLayer(builder, index, Heads(count, width)) for index, count in enumerate(encoder_heads)]
        self._decoder = [DecoderLayer(builder, index, self._decoder_heads) for index in range(architecture.decoder_layers)]
        final = architecture.normalizes_before
        self._final_norms = [builder.norm(f"model.{part}.layer_norm") for part in ("encoder", "decoder")] if final else None
        self.clear()

    @property
    def architecture(self) -> Architecture:
        return self._architecture

    @property
    def rows(self) -> int:
        return self._batch.rows

    def clear(self) -> None:
        """Forget everything, what was begun too."""
        self._batch = Batch(self._decoder_heads)
        self._encoding: _Encoding | None = None
        self._pages = PagePool()

    @property
    def page_positions(self) -> int:
        """As the protocol says."""
        return page_positions()

    def cache_bytes(self, source: Source, positions: int) -> int:
        """As the protocol says."""
        return SourceCache.bytes(source, positions, self._decoder_heads)

    @property
    def spare_bytes(self) -> int:
        """As the protocol says."""
        return self._pages.spare_bytes

    def trim(self, most: int) -> None:
        """As the protocol says."""
        self._pages.trim(most)

    @torch.inference_mode()
    @one_torch_thread()
    def begin(self, sources: Sequence[Source]) -> None:
        """As the protocol says."""
        lengths = [len(source.token_ids) for source in sources]
        tokens = [token for source in sources for token in source.token_ids]
        positions = np.concatenate([np.arange(length) for length in lengths])
        hidden = self._buffers.floats("source hidden", len(tokens), self._architecture.d_model)
        caches = [SourceCache(source, self._decoder_heads, self._pages) for source in sources]
        self._encoding = _Encoding(caches, self._embed_source(tokens, positions, hidden), self._grouped(lengths))

    @torch.inference_mode()
    @one_torch_thread()
    def encode(self, layers: int) -> bool:
        """As the protocol says."""
        encoding = self._encoding
        assert encoding is not None, "nothing was begun"
        for layer in self._encoder[encoding.layers_done : encoding.layers_done + layers]:
            for group in encoding.groups:
                layer(encoding.hidden[group.tokens], group.keys, group.attend)
        encoding.layers_done += layers
        if encoding.layers_done < len(self._encoder):
            return False
        for group in encoding.groups:
            self._write_cross(encoding.sources[group.sources], encoding.hidden[group.tokens])
        self._batch.join(encoding.sources)
        self._encoding = None
        return True

    def _grouped(self, lengths: Sequence[int]) -> list[_Group]:
        """Neighbours in groups; all groups use the same memory for their keys and values, one after another."""
        heads = self._most_encoder_heads
        members = grouped(lengths, GROUP)
        sizes = [[heads.block_bytes(length) for length in lengths[group]] for group in members]
        memory = self._buffers.floats("encoder keys", 1, max(map(sum, sizes)) // 4).data_ptr()
        groups: list[_Group] = []
        token = 0
        for group, bytes_each in zip(members, sizes, strict=True):
            blocks = [memory + sum(bytes_each[:place]) for place in range(len(bytes_each))]
            attend = attend_to_themselves(blocks, lengths[group])
            tokens = slice(token, token + sum(lengths[group]))
            groups.append(_Group(tokens, group, KeyWriter([blocks], lengths[group]), attend))
            token = tokens.stop
        return groups

    def _write_cross(self, sources: Sequence[SourceCache], hidden: Tensor) -> None:
        if self._final_norms is not None:
            self._final_norms[0](hidden, hidden)
        encoded = Codes(hidden, self._buffers)
        blocks = [[source.block_address(heads) for source in sources] for heads in self._decoder_heads.cross]
        keys = KeyWriter(blocks, [source.length for source in sources])
        for layer in self._decoder:
            layer.write_cross(encoded, keys)

    def abandon(self) -> None:
        """Forget what was begun and has not joined."""
        self._encoding = None

    @torch.inference_mode()
    @one_torch_thread()
    def decode(self, tokens: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
        """As the protocol says."""
        batch = self._batch
        batch.advance()
        hidden = self._buffers.floats("hidden", len(tokens), self._architecture.d_model)
        self._embed(tokens, batch.positions, hidden)
        for layer in self._decoder:
            layer(hidden, batch)
        if self._final_norms is not None:
            self._final_norms[1](hidden, hidden)
        return self._select(hidden, [source.rows for source in batch.sources], wanted)

    def select(self, parents: Sequence[Sequence[int]]) -> None:
        """As the protocol says."""
        self._batch.select(parents)


def check_runs(artifact: Artifact) -> None:
    """Raises UnavailableError where the kernels cannot be used, or not for this artifact."""
    kernels()
    if not artifact.scheme.quantizes_activations:
        raise UnavailableError("they compute over codes, and the scheme leaves activations unquantized")


def grouped(lengths: Sequence[int], most: int) -> list[slice]:
    """Neighbours with up to `most` tokens together, or one longer source."""
    groups: list[slice] = []
    first = tokens = 0
    for place, length in enumerate(lengths):
        if place > first and tokens + length > most:
            groups.append(slice(first, place))
            first, tokens = place, 0
        tokens += length
    return [*groups, slice(first, len(lengths))]
