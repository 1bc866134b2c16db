"""A checkpoint for other texts than it was trained on: a new vocabulary, more positions, positions anew.

*Vocabulary transfer* (Gee et al., EMNLP 2022, "Fast Vocabulary Transfer for Language Model Compression"): the embedding of a
new token is the mean of the embeddings of the old tokens that spell it, so that training need not start from nothing. Tokens
that the old vocabulary cannot spell get random embeddings of the same spread.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor, nn
from transformers import BartTokenizer, PreTrainedModel

from quant.layout import DECODER_EMBEDDING, HEAD, TOKEN_MATRICES, Architecture

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
POSITION_OFFSET = 2
_LONGEST_WAVE = 1000.0
"""In positions, over 2 pi: with the paper's 10,000 half of the width would hardly differ within the positions of a BART."""


def train_tokenizer(texts: Iterable[str], size: int, positions: int) -> BartTokenizer:
    """BART's kind of tokenizer, byte-level BPE, with a vocabulary of at most `size` tokens learned from `texts`."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        texts, vocab_size=size, min_frequency=2, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )
    with tempfile.TemporaryDirectory() as folder:
        trained.save_model(folder)
        files = {"vocab": str(Path(folder) / "vocab.json"), "merges": str(Path(folder) / "merges.txt")}
        return BartTokenizer(**files, model_max_length=positions)


def use_vocabulary(model: PreTrainedModel, old: Any | None, new: Any) -> None:
    """Give a stock model the vocabulary of the tokenizer `new`, in place; `old` is None where embeddings are random anyway.

    The model then writes `<s> text </s>` on both sides, whatever languages it had before.
    """
    ids = {
        "bos_token_id": new.bos_token_id,
        "pad_token_id": new.pad_token_id,
        "eos_token_id": new.eos_token_id,
        "decoder_start_token_id": new.eos_token_id,
        "forced_bos_token_id": new.bos_token_id,
        "forced_eos_token_id": new.eos_token_id,
    }
    architecture = Architecture.from_config(model.config.to_dict())
    matrices = list(dict.fromkeys(architecture.stored_as(name) for name in TOKEN_MATRICES))
    tables = {}
    bias = torch.zeros(len(new), 1)
    if old is not None:
        tables = {
            name: transferred(model.get_parameter(name).detach(), old, new, model.config.init_std) for name in matrices
        }
        bias = transferred(model.final_logits_bias.mT, old, new, 0.0)
    # Sized first: resizing looks at the padding of the old vocabulary.
    model.resize_token_embeddings(len(new), mean_resizing=False)
    if DECODER_EMBEDDING in matrices:
        model.model.decoder.embed_tokens = copy.deepcopy(model.model.shared)  # resizing has made it the encoder's
    for key, value in ids.items():
        if key != "forced_bos_token_id" and key != "forced_eos_token_id":
            setattr(model.config, key, value)
        setattr(model.generation_config, key, value)
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.padding_idx = new.pad_token_id
    model.final_logits_bias.copy_(bias.mT)
    with torch.no_grad():
        for name in matrices:
            weight = model.get_parameter(name)
            if name in tables:
                weight.copy_(tables[name])
            else:
                weight.normal_(0.0, model.config.init_std)
            if name != HEAD:
                weight[new.pad_token_id] = 0.0


def transferred(embedding: Tensor, old: Any, new: Any, spread: float) -> Tensor:
    """Values float32 [new tokens, width] as means of the old [old tokens, width]."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(len(new), embedding.shape[1], generator=generator) * spread
    for role in ("bos_token_id", "pad_token_id", "eos_token_id", "unk_token_id", "mask_token_id"):
        theirs, ours = getattr(old, role, None), getattr(new, role)
        if theirs is not None and theirs < embedding.shape[0]:
            table[ours] = embedding[theirs]
    special = set(new.all_special_ids)
    for token in range(len(new)):
        text = new.decode([token], clean_up_tokenization_spaces=False)
        # A token that is a part of a character has no text of its own.
        if token in special or not text.strip() or "\N{REPLACEMENT CHARACTER}" in text:
            continue
        pieces = old(text.strip(), add_special_tokens=False)["input_ids"]
        if not text.startswith(" ") and len(pieces) > 1 and old.convert_ids_to_tokens(pieces[0]) == "▁":
            pieces = pieces[1:]  # SentencePiece puts a space where the token has none
        if pieces := [piece for piece in pieces if piece != old.unk_token_id]:
            table[token] = embedding[pieces].mean(0)
    return table


def extend_positions(model: PreTrainedModel, positions: int) -> None:
    """Make room for `positions` tokens, in place: learned positions are repeated (Longformer, Beltagy et al. 2020).

    The first tenth is not: it has seen the beginnings of texts. Fewer positions than there are cut the rest off.
    """
    for stack in (model.model.encoder, model.model.decoder):
        old = stack.embed_positions.weight.detach()
        known = old.shape[0] - POSITION_OFFSET
        skipped = known // 10
        source = [index if index < known else skipped + (index - known) % (known - skipped) for index in range(positions)]
        rows = torch.tensor([*range(POSITION_OFFSET), *(POSITION_OFFSET + index for index in source)])
        stack.embed_positions.weight = nn.Parameter(old[rows].clone())
        stack.embed_positions.num_embeddings = positions + POSITION_OFFSET
    model.config.max_position_embeddings = positions


def sinusoidal_positions(model: PreTrainedModel) -> None:
    """Begin the positions anew, in place, as sines and cosines (Vaswani et al. 2017, section 3.5), to be trained on from.

    Positions that were repeated, or that no text was long enough to train, tell attention nothing: it cannot find the token
    after another one, which is what copying is made of. Here the neighbour is the same rotation away everywhere.
    Their spread is half that of the scaled token embeddings; wave lengths end at a multiple of the positions there are.
    """
    tokens = model.get_input_embeddings().weight.detach().float().std() * (
        math.sqrt(model.config.d_model) if model.config.scale_embedding else 1.0
    )
    for stack in (model.model.encoder, model.model.decoder):
        old = stack.embed_positions.weight
        count, width = old.shape
        speeds = _LONGEST_WAVE ** -(torch.arange(0, width, 2) / width)
        angles = torch.arange(count)[:, None] * speeds
        table = torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :width]
        table -= table.mean(0)
        stack.embed_positions.weight = nn.Parameter((table * (tokens / 2 / table.std())).to(old.dtype))
