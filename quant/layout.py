"""Which tensors a BART or mBART model has, and how each is stored.

Names are those of the stock `transformers` classes. A stored matrix is two tensors, NAME.codes (packed bytes) and
NAME.scale (float16); everything else is one float32 tensor. What is the same matrix is stored once:

    token embeddings and head tied, as in every released BART and mBART    model.shared.weight
    tie_word_embeddings: false                                             and lm_head.weight
    share_encoder_decoder_embeddings: false, too                           and model.decoder.embed_tokens.weight

`final_logits_bias` is stored where `add_bias_logits` says that it is not zero. Stock classes read only the first of these
three settings; `compress.model.embeddings` makes all of them say what a checkpoint's weights are.

Where a `Structure` names other bits or fewer heads for a block, the block's matrices follow it: a pruned attention has
fewer outputs of `q_proj`, `k_proj` and `v_proj`, and fewer inputs of `out_proj`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from quant.configuration import read_configuration
from quant.packing import packed_bytes
from quant.scheme import POSITION_BITS, Granularity, Layers, Scheme
from quant.structure import UNIFORM, Structure

FEED_FORWARD = "feed_forward"
EMBEDDING = "model.shared.weight"
ENCODER_EMBEDDING = "model.encoder.embed_tokens.weight"
DECODER_EMBEDDING = "model.decoder.embed_tokens.weight"
HEAD = "lm_head.weight"
TOKEN_MATRICES = (EMBEDDING, ENCODER_EMBEDDING, DECODER_EMBEDDING, HEAD)
"""The names that stock classes have for matrices with a row a token, of which several may be one."""
LOGITS_BIAS = "final_logits_bias"

_IN_A_BLOCK = re.compile(
    r"(?:model\.)?(?P<layer>(?:en|de)coder\.layers\.[0-9]+)\."
    r"(?:(?P<attention>self_attn|encoder_attn)|fc1|fc2|feed_forward)(?:\..+)?"
)


class ArchitectureError(ValueError):
    """A model that is not a BART or mBART, or one with a setting that we do not support."""


@dataclass(frozen=True)
class Architecture:
    """The part of a `transformers` configuration that decides shapes and the flow of a forward pass."""

    model_type: Literal["bart", "mbart"]
    vocab_size: int
    d_model: int
    encoder_layers: int
    decoder_layers: int
    encoder_attention_heads: int
    decoder_attention_heads: int
    encoder_ffn_dim: int
    decoder_ffn_dim: int
    max_position_embeddings: int
    activation_function: str
    scale_embedding: bool
    pad_token_id: int
    eos_token_id: int
    """The first, where the configuration lists several; generation_config.json says which end a text."""
    bos_token_id: int | None = None
    decoder_start_token_id: int | None = None
    tie_word_embeddings: bool = True
    """Whether the head is the token embedding."""
    share_encoder_decoder_embeddings: bool = True
    """Whether encoder and decoder have one token embedding."""
    add_bias_logits: bool = False
    """Whether something is added to the logits of each token."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Architecture:
        """Read a `transformers` config.json. Raises ArchitectureError listing everything that is missing or unsupported."""
        given, faults = read_configuration(config)
        if faults:
            raise ArchitectureError("; ".join(faults))
        return cls(**given)

    @property
    def layers(self) -> Layers:
        return Layers(self.encoder_layers, self.decoder_layers)

    @property
    def normalizes_before(self) -> bool:
        """mBART normalizes before each block and once more at the end of each stack; BART after each block."""
        return self.model_type == "mbart"

    @property
    def start_token_id(self) -> int:
        """What a decoder may start from where nothing is generated to be read, as in a benchmark."""
        return self.eos_token_id if self.decoder_start_token_id is None else self.decoder_start_token_id

    def stored_as(self, name: str) -> str:
        """The tensor that holds one of `TOKEN_MATRICES`; where encoder and decoder differ, EMBEDDING is the encoder's."""
        if name == HEAD and not self.tie_word_embeddings:
            return HEAD
        if name == DECODER_EMBEDDING and not self.share_encoder_decoder_embeddings:
            return DECODER_EMBEDDING
        return EMBEDDING


@dataclass(frozen=True)
class TensorLayout:
    """One tensor of the model: its name, its shape, the part it counts to, and its bits (None: stored as float32)."""

    name: str
    shape: tuple[int, ...]
    part: Literal["embedding", "positions", "encoder", "decoder", "head"]
    bits: int | None = None
    granularity: Granularity = "row"

    @property
    def count(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def scale_shape(self) -> tuple[int, int]:
        return (self.shape[0] if self.granularity == "row" else 1, 1)

    def stored(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The tensors on disk: name → (safetensors dtype, shape)."""
        if self.bits is None:
            return {self.name: ("F32", self.shape)}
        return {
            f"{self.name}.codes": ("U8", (packed_bytes(self.count, self.bits),)),
            f"{self.name}.scale": ("F16", self.scale_shape),
        }

    @property
    def stored_bytes(self) -> int:
        """Bytes on disk, without the file's header."""
        if self.bits is None:
            return 4 * self.count
        return packed_bytes(self.count, self.bits) + 2 * self.scale_shape[0]


def blocks(architecture: Architecture) -> list[str]:
    """The names of the model's blocks, in the order of the forward pass: attentions and feed-forward networks."""
    return [
        f"{part}.layers.{index}.{block}"
        for part in ("encoder", "decoder")
        for index in range(getattr(architecture, f"{part}_layers"))
        for block in (*_attentions(part), FEED_FORWARD)
    ]


def block_of(tensor: str) -> str | None:
    """The block of a tensor (`model.encoder.layers.0.fc1.weight` is of `encoder.layers.0.feed_forward`), or of a module.

    None for what belongs to no block: embeddings and normalizations.
    """
    match = _IN_A_BLOCK.fullmatch(tensor)
    return match and f"{match['layer']}.{match['attention'] or FEED_FORWARD}"


def heads_of(architecture: Architecture, structure: Structure, part: str, attention: str) -> list[int]:
    """Heads of an attention (`self_attn`, `encoder_attn`) in each layer of a part (`encoder`, `decoder`)."""
    configured = getattr(architecture, f"{part}_attention_heads")
    layers = range(getattr(architecture, f"{part}_layers"))
    return [structure.heads.get(f"{part}.layers.{index}.{attention}", configured) for index in layers]


def structure_faults(architecture: Architecture, structure: Structure) -> list[str]:
    """What keeps the structure from being one of this architecture: unknown blocks, and more heads than there were."""
    known = set(blocks(architecture))
    faults = [
        f"{name} names {block}, a block that a model of {architecture.layers} layers does not have"
        for name, entries in (("block_bits", structure.block_bits), ("heads", structure.heads))
        for block in entries
        if block not in known
    ]
    for block, heads in structure.heads.items():
        if block in known:
            configured = _configured_heads(architecture, block)
            if configured is None:
                faults.append(f"heads names {block}, which is no attention")
            elif heads > configured:
                faults.append(f"heads of {block} is {heads}, the model has {configured}")
    return faults


def model_layout(architecture: Architecture, scheme: Scheme, structure: Structure = UNIFORM) -> Iterator[TensorLayout]:
    """Every tensor of the model under the scheme, in the order of the forward pass.

    The structure is taken to have no `structure_faults`.
    """
    width, vocabulary = architecture.d_model, architecture.vocab_size
    yield TensorLayout(EMBEDDING, (vocabulary, width), "embedding", scheme.embedding_bits)
    if not architecture.share_encoder_decoder_embeddings:
        yield TensorLayout(DECODER_EMBEDDING, (vocabulary, width), "embedding", scheme.embedding_bits)
    for part in ("encoder", "decoder"):
        stack = f"model.{part}"
        positions = (architecture.max_position_embeddings + 2, width)
        yield TensorLayout(f"{stack}.embed_positions.weight", positions, "positions", POSITION_BITS)
        yield from _norm(f"{stack}.layernorm_embedding", width, part)
        for index in range(getattr(architecture, f"{part}_layers")):
            yield from _layer(f"{part}.layers.{index}", part, architecture, scheme, structure)
        if architecture.normalizes_before:
            yield from _norm(f"{stack}.layer_norm", width, part)
    if not architecture.tie_word_embeddings:
        yield TensorLayout(HEAD, (vocabulary, width), "head", scheme.embedding_bits)
    if architecture.add_bias_logits:
        yield TensorLayout(LOGITS_BIAS, (1, vocabulary), "head")


def float_bytes(architecture: Architecture, structure: Structure = UNIFORM) -> int:
    """Bytes of the same model's weights in float32: what compression ratios are measured against."""
    return sum(4 * tensor.count for tensor in model_layout(architecture, Scheme(8, 8, 8), structure))


def footprint(architecture: Architecture, scheme: Scheme, structure: Structure = UNIFORM) -> dict[str, int]:
    """Stored bytes by part, without the file's header."""
    sizes: dict[str, int] = {}
    for tensor in model_layout(architecture, scheme, structure):
        sizes[tensor.part] = sizes.get(tensor.part, 0) + tensor.stored_bytes
    return sizes


def _attentions(part: str) -> tuple[str, ...]:
    return ("self_attn", "encoder_attn") if part == "decoder" else ("self_attn",)


def _configured_heads(architecture: Architecture, block: str) -> int | None:
    """Heads of an attention before any was removed; None for a feed-forward network."""
    part, *_, kind = block.split(".")
    return None if kind == FEED_FORWARD else int(getattr(architecture, f"{part}_attention_heads"))


def _layer(
    layer: str, part: Any, architecture: Architecture, scheme: Scheme, structure: Structure
) -> Iterator[TensorLayout]:
    name, width = f"model.{layer}", architecture.d_model
    hidden, configured = getattr(architecture, f"{part}_ffn_dim"), getattr(architecture, f"{part}_attention_heads")

    def linear(module: str, shape: tuple[int, int], block: str) -> Iterator[TensorLayout]:
        bits = structure.block_bits.get(f"{layer}.{block}", scheme.weight_bits)
        yield TensorLayout(f"{name}.{module}.weight", shape, part, bits, scheme.granularity)
        yield TensorLayout(f"{name}.{module}.bias", shape[:1], part)

    for attention in _attentions(part):
        inner = structure.heads.get(f"{layer}.{attention}", configured) * (width // configured)
        for projection in ("q_proj", "k_proj", "v_proj"):
            yield from linear(f"{attention}.{projection}", (inner, width), attention)
        yield from linear(f"{attention}.out_proj", (width, inner), attention)
        yield from _norm(f"{name}.{attention}_layer_norm", width, part)
    yield from linear("fc1", (hidden, width), FEED_FORWARD)
    yield from linear("fc2", (width, hidden), FEED_FORWARD)
    yield from _norm(f"{name}.final_layer_norm", width, part)


def _norm(name: str, width: int, part: Any) -> Iterator[TensorLayout]:
    yield TensorLayout(f"{name}.weight", (width,), part)
    yield TensorLayout(f"{name}.bias", (width,), part)
