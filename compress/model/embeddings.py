"""Matrices with a row a token: which of a model's are one.

Stock classes tie all of them, or with `tie_word_embeddings: false` none: encoder, decoder and head then have each its own,
and `model.shared` is not used. Checkpoints that older releases trained with an untied head have one embedding for encoder
and decoder, and write it once. Here `model.shared` is always the encoder's embedding, and the decoder's where both are
equal; what is so stands in the configuration, by the names of `quant.layout.Architecture`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from transformers import PreTrainedModel

from quant.layout import DECODER_EMBEDDING, EMBEDDING, ENCODER_EMBEDDING, TOKEN_MATRICES


def settle_embeddings(model: PreTrainedModel, missing: Collection[str]) -> set[str]:
    """Make a loaded model's configuration say what its weights are, and tie what is one matrix, in place.

    `missing` are the tensors that the checkpoint did not have; returns those of them that another tensor stands for.
    """
    inner, config = model.model, model.config
    found: set[str] = set()
    for name, other in ((EMBEDDING, ENCODER_EMBEDDING), (ENCODER_EMBEDDING, EMBEDDING), (DECODER_EMBEDDING, EMBEDDING)):
        if name in missing and (other not in missing or other in found):
            model.get_submodule(name.removesuffix(".weight")).weight = model.get_parameter(other)
            found.add(name)
    encoder, decoder = inner.encoder.embed_tokens.weight, inner.decoder.embed_tokens.weight
    config.share_encoder_decoder_embeddings = torch.equal(encoder, decoder)
    # Also where the configuration says otherwise: stock classes tie no tensors of which a checkpoint has two that differ.
    config.tie_word_embeddings = config.share_encoder_decoder_embeddings and model.lm_head.weight is encoder
    config.add_bias_logits = bool(model.final_logits_bias.any())
    inner.shared.weight = encoder
    tie_embeddings(model)
    return found


def tie_embeddings(model: PreTrainedModel) -> None:
    """Make one parameter of what a stock model's configuration says is one matrix, in place: `model.shared` stays."""
    inner, config = model.model, model.config
    inner.encoder.embed_tokens.weight = inner.shared.weight
    if getattr(config, "share_encoder_decoder_embeddings", True):
        inner.decoder.embed_tokens.weight = inner.shared.weight
    if config.tie_word_embeddings:
        model.lm_head.weight = inner.shared.weight


def save_checkpoint(model: PreTrainedModel, folder: Path) -> None:
    """Write a plain checkpoint that stock classes read: without a tied head they look for every embedding by its name."""
    state = model.state_dict()
    if not model.config.tie_word_embeddings:
        state |= {name: state[name].clone() for name in TOKEN_MATRICES}
    model.save_pretrained(folder, state_dict=state)
