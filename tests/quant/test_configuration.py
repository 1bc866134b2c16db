"""What a config.json may say."""

from __future__ import annotations

from typing import Any

import pytest

from quant.configuration import read_configuration
from quant.layout import Architecture, ArchitectureError

Config = dict[str, Any]

# What the config.json files of facebook/bart-large-cnn, sshleifer/distilbart-cnn-12-6 and facebook/mbart-large-50 say beside
# sizes and ids, as their first releases wrote them.
RELEASED_BART = {
    "_num_labels": 3, "add_bias_logits": False, "add_final_layer_norm": False, "classif_dropout": 0.0,
    "extra_pos_embeddings": 2, "force_bos_token_to_be_generated": True, "gradient_checkpointing": False,
    "id2label": {"0": "LABEL_0"}, "is_encoder_decoder": True, "normalize_before": False, "normalize_embedding": True,
    "output_past": True, "prefix": " ", "save_step": 58, "static_position_embeddings": False,
    "task_specific_params": {"summarization": {"num_beams": 4}},
}  # fmt: skip
RELEASED_MBART = {
    "add_bias_logits": False, "add_final_layer_norm": True, "normalize_before": True, "normalize_embedding": True,
    "static_position_embeddings": False, "tokenizer_class": "MBart50Tokenizer", "scale_embedding": True,
}  # fmt: skip


@pytest.mark.parametrize(("model_type", "said"), [("bart", RELEASED_BART), ("mbart", RELEASED_MBART)])
def test_what_released_configurations_say_beside_is_read_over(config: Config, model_type: str, said: Config) -> None:
    architecture = Architecture.from_config({**config, "model_type": model_type, **said})
    assert architecture.normalizes_before == (model_type == "mbart")


def test_what_is_not_said_is_as_in_every_released_model(config: Config) -> None:
    architecture = Architecture.from_config(config)
    assert architecture.tie_word_embeddings
    assert architecture.share_encoder_decoder_embeddings
    assert not architecture.add_bias_logits


@pytest.mark.parametrize("name", ["bos_token_id", "decoder_start_token_id"])
def test_an_id_that_nothing_needs_may_be_missing(config: Config, name: str) -> None:
    """Such as bos_token_id: null, or mbart-large-cc25, whose decoder starts from the target language."""
    assert getattr(Architecture.from_config({**config, name: None}), name) is None
    assert getattr(Architecture.from_config({key: value for key, value in config.items() if key != name}), name) is None
    with pytest.raises(ArchitectureError, match=f"{name} is 'x', a whole number is expected"):
        Architecture.from_config({**config, name: "x"})


def test_a_decoder_that_starts_anywhere_starts_from_the_end_in_a_benchmark(config: Config) -> None:
    assert Architecture.from_config({**config, "decoder_start_token_id": 9}).start_token_id == 9
    assert Architecture.from_config({**config, "decoder_start_token_id": None}).start_token_id == config["eos_token_id"]


def test_of_several_end_tokens_the_first(config: Config) -> None:
    assert Architecture.from_config({**config, "eos_token_id": [5, 2]}).eos_token_id == 5
    with pytest.raises(ArchitectureError, match=r"eos_token_id is \[\], a whole number is expected"):
        Architecture.from_config({**config, "eos_token_id": []})


def test_every_fault_of_a_config_is_listed() -> None:
    config = {"model_type": "t5", "tie_word_embeddings": 0, "vocab_size": "50265", "d_model": True, "scale_embedding": 1}
    assert read_configuration({**config, "activation_function": "prelu", "extra_pos_embeddings": 0})[1] == [
        "model_type is 't5', supported are bart, mbart",
        "vocab_size is '50265', a whole number is expected",
        "d_model is True, a whole number is expected",
        *(f"{side}coder_layers is missing" for side in ("en", "de")),
        *(f"{side}coder_attention_heads is missing" for side in ("en", "de")),
        *(f"{side}coder_ffn_dim is missing" for side in ("en", "de")),
        "max_position_embeddings is missing",
        "pad_token_id is missing",
        "eos_token_id is missing",
        "scale_embedding is 1, true or false is expected",
        "tie_word_embeddings is 0, true or false is expected",
        "activation_function is 'prelu', supported are gelu, gelu_10, gelu_accurate, gelu_fast, gelu_new, gelu_python, "
        "gelu_python_tanh, gelu_pytorch_tanh, hardswish, leaky_relu, linear, quick_gelu, relu, relu2, relu6, sigmoid, silu, "
        "swish, tanh",
        "extra_pos_embeddings is 0, 2 is what t5 is computed with",
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("encoder_layers", 0, "encoder_layers is 0, 1 to 256 are accepted"),
        ("decoder_layers", 10**9, "decoder_layers is 1000000000, 1 to 256 are accepted"),
        ("d_model", -12, "d_model is -12, 1 to 65536 are accepted"),
        ("decoder_ffn_dim", 65537, "decoder_ffn_dim is 65537, 1 to 65536 are accepted"),
        ("max_position_embeddings", 10**30, f"max_position_embeddings is {10**30}, 1 to 16777216 are accepted"),
        ("decoder_attention_heads", 0, "decoder_attention_heads is 0, 1 to"),
        ("encoder_attention_heads", 5, "d_model is 12, no multiple of encoder_attention_heads = 5"),
        ("encoder_attention_heads", 24, "d_model is 12, no multiple of encoder_attention_heads = 24"),
        ("eos_token_id", 37, "eos_token_id is 37, outside of the vocabulary of 37"),
        ("pad_token_id", -1, "pad_token_id is -1, outside of the vocabulary of 37"),
        ("bos_token_id", 40, "bos_token_id is 40, outside of the vocabulary of 37"),
        ("pad_token_id", None, "pad_token_id is missing"),
        ("activation_function", 3, "activation_function is 3, supported are gelu"),
        ("activation_function", ["gelu"], r"activation_function is \['gelu'\], supported are gelu"),
        ("model_type", ["bart"], r"model_type is \['bart'\], supported are"),
        ("normalize_before", True, "normalize_before is True, False is what bart is computed with"),
        ("add_final_layer_norm", True, "add_final_layer_norm is True, False is what bart is computed with"),
        ("normalize_embedding", False, "normalize_embedding is False, True is what bart is computed with"),
        ("static_position_embeddings", True, "static_position_embeddings is True, False is what"),
        ("is_encoder_decoder", False, "is_encoder_decoder is False, True is what"),
        ("share_encoder_decoder_embeddings", False, "a head is tied to one embedding"),
    ],
)
def test_a_config_that_no_model_has(config: Config, name: str, value: Any, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_config({**config, name: value})
