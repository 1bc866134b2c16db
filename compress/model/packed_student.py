"""A packed artifact as a stock `transformers` model: with quantized modules, or with plain dequantized weights.

Attentions that were pruned are stock modules with fewer heads.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from compress.data.text_format import TextFormat
from compress.model.embeddings import tie_embeddings
from compress.model.generation import eos_token_ids, settle_generation
from compress.model.heads import resize_heads
from compress.model.quantized_modules import freeze_quantized, quantize_modules
from quant.artifact import Artifact, read_artifact
from quant.layout import LOGITS_BIAS, TOKEN_MATRICES
from quant.numerics import Quantized, dequantize


def load_student(folder: Path) -> tuple[PreTrainedModel, TextFormat, Artifact]:
    """The artifact in a folder as a model with quantized modules, which computes what the engine computes."""
    artifact = read_artifact(folder)
    model = _stock_model(artifact, "eager")
    quantize_modules(model, artifact.scheme, artifact.structure)
    model.load_state_dict(_dequantized_weights(artifact), strict=True)
    freeze_quantized(model.eval(), artifact)
    model.generation_config = GenerationConfig.from_dict(artifact.generation_config)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    settle_generation(model, tokenizer)
    return model, TextFormat(artifact.card, tokenizer, eos_token_ids(model)), artifact


def dequantized_student(artifact: Artifact, attention: str = "sdpa") -> PreTrainedModel:
    """The plain stock model with the artifact's values; nothing in it is quantized any more."""
    model = _stock_model(artifact, attention)
    model.load_state_dict(_dequantized_weights(artifact), strict=True)
    return model.eval()


def _stock_model(artifact: Artifact, attention: str) -> PreTrainedModel:
    entries = {key: value for key, value in artifact.config.items() if key not in ("quantization_config", "dqbart")}
    model: PreTrainedModel = AutoModelForSeq2SeqLM.from_config(
        AutoConfig.for_model(**entries), attn_implementation=attention
    )
    tie_embeddings(model)
    resize_heads(model, artifact.structure.heads)
    return model


def _dequantized_weights(artifact: Artifact) -> dict[str, Tensor]:
    """A whole state dict: what is stored, under every name that it has, and a bias of zeros where none is stored."""
    values = {
        name: dequantize(tensor) if isinstance(tensor, Quantized) else tensor for name, tensor in artifact.tensors.items()
    }
    architecture = artifact.architecture
    tied = {name: values[architecture.stored_as(name)] for name in TOKEN_MATRICES}
    return {LOGITS_BIAS: torch.zeros(1, architecture.vocab_size), **values, **tied}
