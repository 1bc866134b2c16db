"""Which tensors a BART or mBART model has, and how each is stored.

Names are those of the stock `transformers` classes. A stored matrix is two tensors, NAME.codes (packed bytes) and
NAME.scale (float16); everything else is one float32 tensor. Tied weights (token embeddings, head) are stored once, as
`model.shared.weight`. `final_logits_bias`, a buffer that is zero in every released checkpoint, is not stored: a model in
which it is not zero is refused when it is packed.

Where a `Structure` names other bits or fewer heads for a block, the block's matrices follow it: a pruned attention has
fewer outputs of `q_proj`, `k_proj` and `v_proj`, and fewer inputs of `out_proj`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from quant.packing import packed_bytes
from quant.scheme import POSITION_BITS, Granularity, Layers, Scheme
from quant.structure import UNIFORM, Structure

SUPPORTED = ("bart", "mbart")
FEED_FORWARD = "feed_forward"
EMBEDDING = "model.shared.weight"
TIED_TO_EMBEDDING = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")

_IN_A_BLOCK = re.compile(
    r"(?:model\.)?(?P<layer>(?:en|de)coder\.layers\.[0-9]+)\."
    r"(?:(?P<attention>self_attn|encoder_attn)|fc1|fc2|feed_forward)(?:\..+)?"
)
_KINDS: dict[str, tuple[type, str]] = {"int": (int, "a whole number"), "bool": (bool, "true or false")}
# Far beyond any released model, and near enough that a damaged config cannot make us list millions of layers.
_MOST_LAYERS = 256
_LARGEST_SIZE = 2**24


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
    bos_token_id: int
    eos_token_id: int
    decoder_start_token_id: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Architecture:
        """Read a `transformers` config.json. Raises ArchitectureError listing everything that is missing or unsupported."""
        faults = []
        if config.get("model_type") not in SUPPORTED:
            faults.append(f"model_type is {config.get('model_type')!r}, supported are {', '.join(SUPPORTED)}")
        if config.get("tie_word_embeddings", True) is False:
            faults.append("tie_word_embeddings is false, only a head tied to the embedding is supported")
        missing = [field.name for field in fields(cls) if config.get(field.name) is None]
        faults += [f"{name} is missing" for name in missing]
        given = {field.name: config[field.name] for field in fields(cls) if field.name not in missing}
        for field in fields(cls):
            kind, meaning = _KINDS.get(str(field.type), (str, "a name"))
            if field.name in given and type(given[field.name]) is not kind:
                faults.append(f"{field.name} is {given[field.name]!r}, {meaning} is expected")
        if not faults:
            faults = _size_faults(given)
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


@dataclass(frozen=True)
class TensorLayout:
    """One tensor of the model: its name, its shape, the part it counts to, and its bits (None: stored as float32)."""

    name: str
    shape: tuple[int, ...]
    part: Literal["embedding", "positions", "encoder", "decoder"]
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
    for part in ("encoder", "decoder"):
        stack = f"model.{part}"
        positions = (architecture.max_position_embeddings + 2, width)
        yield TensorLayout(f"{stack}.embed_positions.weight", positions, "positions", POSITION_BITS)
        yield from _norm(f"{stack}.layernorm_embedding", width, part)
        for index in range(getattr(architecture, f"{part}_layers")):
            yield from _layer(f"{part}.layers.{index}", part, architecture, scheme, structure)
        if architecture.normalizes_before:
            yield from _norm(f"{stack}.layer_norm", width, part)


def float_bytes(architecture: Architecture, structure: Structure = UNIFORM) -> int:
    """Bytes of the same model's weights in float32: what compression ratios are measured against."""
    return sum(4 * tensor.count for tensor in model_layout(architecture, Scheme(8, 8, 8), structure))


def footprint(architecture: Architecture, scheme: Scheme, structure: Structure = UNIFORM) -> dict[str, int]:
    """Stored bytes by part, without the file's header."""
    sizes: dict[str, int] = {}
    for tensor in model_layout(architecture, scheme, structure):
        sizes[tensor.part] = sizes.get(tensor.part, 0) + tensor.stored_bytes
    return sizes


def _size_faults(config: Mapping[str, Any]) -> list[str]:
    sizes = ("vocab_size", "d_model", "encoder_ffn_dim", "decoder_ffn_dim", "max_position_embeddings")
    heads = ("encoder_attention_heads", "decoder_attention_heads")
    largest = dict.fromkeys(("encoder_layers", "decoder_layers"), _MOST_LAYERS) | dict.fromkeys(sizes + heads, _LARGEST_SIZE)
    faults = [
        f"{name} is {config[name]}, 1 to {most} are accepted"
        for name, most in largest.items()
        if not 1 <= config[name] <= most
    ]
    if faults:
        return faults
    faults = [
        f"d_model is {config['d_model']}, no multiple of {name} = {config[name]}"
        for name in heads
        if config["d_model"] % config[name]
    ]
    faults += [
        f"{name} is {config[name]}, outside of the vocabulary of {config['vocab_size']}"
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
        if not 0 <= config[name] < config["vocab_size"]
    ]
    return faults


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
