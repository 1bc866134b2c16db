"""A `transformers` config.json, read for what a forward pass depends on: types, sizes, ids, and what is computed here.

`compress` asks before anything is trained and the reader of artifacts before a tensor is looked at, so that no model passes
the one and fails in the other.

Some entries that BART's first configurations had described other networks. Stock classes no longer read them, and compute
what is listed here: a configuration that asks for something else is of weights that neither they nor we can run. Entries
that change nothing (dropout, labels, task_specific_params, names of classes) are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quant.activations import ACTIVATIONS

SUPPORTED = ("bart", "mbart")

INTEGERS = (
    "vocab_size", "d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads",
    "encoder_ffn_dim", "decoder_ffn_dim", "max_position_embeddings", "pad_token_id", "eos_token_id",
)  # fmt: skip
OPTIONAL_IDS = ("bos_token_id", "decoder_start_token_id")
"""Which token comes first may be said by the tokenizer, the target language or the generation settings instead."""
FLAGS = {
    "scale_embedding": None,
    "tie_word_embeddings": True,
    "share_encoder_decoder_embeddings": True,
    "add_bias_logits": False,
}
"""With what they are where the configuration does not say; None: it has to."""

_FIXED: dict[str, dict[str, Any]] = {
    "bart": {"normalize_before": False, "add_final_layer_norm": False},
    "mbart": {"normalize_before": True, "add_final_layer_norm": True},
}
_FIXED_IN_ALL = {
    "normalize_embedding": True,
    "static_position_embeddings": False,
    "extra_pos_embeddings": 2,
    "do_blenderbot_90_layernorm": False,
    "is_encoder_decoder": True,
    "is_decoder": False,
    "tie_encoder_decoder": False,
}
# Far beyond any released model, and near enough that a damaged config cannot make us list millions of layers.
_MOST_LAYERS = 256
_LARGEST_SIZE = 2**24
_WIDEST = 2**16
"""Columns of a matrix: products of codes, one of them stored without sign, are summed in 32 bits."""
_SIZES = dict.fromkeys(("encoder_layers", "decoder_layers"), _MOST_LAYERS)
_SIZES |= dict.fromkeys(("vocab_size", "max_position_embeddings"), _LARGEST_SIZE)
_HEADS = ("encoder_attention_heads", "decoder_attention_heads")
_SIZES |= dict.fromkeys(("d_model", "encoder_ffn_dim", "decoder_ffn_dim", *_HEADS), _WIDEST)


def read_configuration(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The entries that an architecture is made of, and everything that is missing or unsupported."""
    given: dict[str, Any] = {
        name: config.get(name) for name in ("model_type", "activation_function", *INTEGERS, *OPTIONAL_IDS)
    }
    given |= {name: default if config.get(name) is None else config[name] for name, default in FLAGS.items()}
    if isinstance(given["eos_token_id"], list) and given["eos_token_id"]:
        given["eos_token_id"] = given["eos_token_id"][0]
    faults = list(_kind_faults(given)) + list(_fixed_faults(config))
    return given, faults or list(_size_faults(given))


def _kind_faults(given: Mapping[str, Any]) -> Iterator[str]:
    if given["model_type"] not in SUPPORTED:
        yield f"model_type is {given['model_type']!r}, supported are {', '.join(SUPPORTED)}"
    for name, value in given.items():
        if value is None:
            if name not in OPTIONAL_IDS and name != "model_type":
                yield f"{name} is missing"
        elif name in (*INTEGERS, *OPTIONAL_IDS) and type(value) is not int:
            yield f"{name} is {value!r}, a whole number is expected"
        elif name in FLAGS and type(value) is not bool:
            yield f"{name} is {value!r}, true or false is expected"
    activation = given["activation_function"]
    if activation is not None and (type(activation) is not str or activation not in ACTIVATIONS):
        yield f"activation_function is {activation!r}, supported are {', '.join(sorted(ACTIVATIONS))}"
    if given["tie_word_embeddings"] is True and given["share_encoder_decoder_embeddings"] is False:
        yield "share_encoder_decoder_embeddings is false and tie_word_embeddings true: a head is tied to one embedding"


def _fixed_faults(config: Mapping[str, Any]) -> Iterator[str]:
    fixed = _FIXED_IN_ALL | _FIXED.get(str(config.get("model_type")), {})
    for name, expected in fixed.items():
        if config.get(name) not in (None, expected):
            yield f"{name} is {config[name]!r}, {expected!r} is what {config.get('model_type')} is computed with"


def _size_faults(given: Mapping[str, Any]) -> list[str]:
    faults = [
        f"{name} is {given[name]}, 1 to {most} are accepted" for name, most in _SIZES.items() if not 1 <= given[name] <= most
    ]
    if faults:
        return faults
    faults = [
        f"d_model is {given['d_model']}, no multiple of {name} = {given[name]}"
        for name in _HEADS
        if given["d_model"] % given[name]
    ]
    faults += [
        f"{name} is {given[name]}, outside of the vocabulary of {given['vocab_size']}"
        for name in ("pad_token_id", "eos_token_id", *OPTIONAL_IDS)
        if given[name] is not None and not 0 <= given[name] < given["vocab_size"]
    ]
    return faults
