"""A stock BART or mBART of one layer a side and random weights, and a batch for it."""

from __future__ import annotations

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MBartConfig,
    MBartForConditionalGeneration,
    PreTrainedModel,
)

from compress.data.batches import Batch, collate
from compress.data.encoded import Encoded


def tiny(kind: str = "bart", heads: int = 4) -> PreTrainedModel:
    torch.manual_seed(5)
    shape = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in (("layers", 1), ("ffn_dim", 24))}
    heads_by_side = {"encoder_attention_heads": heads, "decoder_attention_heads": heads}
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    configs = {"bart": BartConfig, "mbart": MBartConfig}
    config = configs[kind](
        vocab_size=20, d_model=16, max_position_embeddings=16, init_std=0.3, **shape, **heads_by_side, **ids
    )
    config._attn_implementation = "eager"
    models = {"bart": BartForConditionalGeneration, "mbart": MBartForConditionalGeneration}
    return models[kind](config).eval()


def batch(*rows: tuple[list[int], list[int]]) -> Batch:
    return collate([Encoded(source, [2, *target[:-1]], target, False) for source, target in rows], pad_id=1)


BATCH = batch(([0, 5, 9, 12, 2], [0, 7, 2]), ([0, 8, 2], [0, 4, 11, 6, 2]))
