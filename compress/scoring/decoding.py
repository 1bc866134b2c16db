"""Generate over a data set with a stock or quantized `transformers` model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, PreTrainedModel

from compress.data.batches import collate, length_batches
from compress.data.encoded import Encoded
from compress.data.text_format import Example, TextFormat


@dataclass(frozen=True)
class DecodingSettings:
    """Settings that override the model's generation_config; None keeps the model's own."""

    num_beams: int | None = None
    length_penalty: float | None = None
    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    no_repeat_ngram_size: int | None = None

    def resolved(self, model: PreTrainedModel) -> GenerationConfig:
        """The model's generation_config with these settings in it.

        Lengths are written as `max_length` and `min_length`, which count the decoder's start token, so that one of the two
        ways to say it stands in the config.
        """
        config = copy.deepcopy(model.generation_config)
        if self.num_beams is not None:
            config.num_beams = self.num_beams
        if self.length_penalty is not None:
            config.length_penalty = self.length_penalty
        if self.no_repeat_ngram_size is not None:
            config.no_repeat_ngram_size = self.no_repeat_ngram_size
        longest = config.max_new_tokens if self.max_new_tokens is None else self.max_new_tokens
        shortest = config.min_new_tokens if self.min_new_tokens is None else self.min_new_tokens
        if longest is not None:
            config.max_length, config.max_new_tokens = longest + 1, None
        if shortest is not None:
            config.min_length, config.min_new_tokens = shortest + 1, None
        return config


_RECORDED = ("num_beams", "length_penalty", "early_stopping", "no_repeat_ngram_size", "min_length", "max_length")


def decoding_record(config: GenerationConfig) -> dict[str, float | int | bool | None]:
    """The decoding settings that a quality figure must name."""
    return {name: getattr(config, name) for name in _RECORDED if getattr(config, name, None) is not None}


def decode_alike(model: PreTrainedModel, other: PreTrainedModel) -> None:
    """Give `model` the decoding settings of `other`, in place; its tokens stay its own."""
    config = DecodingSettings().resolved(other)
    for name in _RECORDED:
        setattr(model.generation_config, name, getattr(config, name, None))
    model.generation_config.max_new_tokens = model.generation_config.min_new_tokens = None


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    text_format: TextFormat,
    examples: Sequence[Example],
    encoded: Sequence[Encoded],
    settings: DecodingSettings,
    batch_tokens: int,
    progress: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Output texts in the order of the examples. `batch_tokens` bounds padded source tokens times beams in a batch.

    `progress` is called with the number of examples finished at a time.
    """
    config = settings.resolved(model)
    beams = config.num_beams or 1
    order = sorted(range(len(examples)), key=lambda index: (_direction(examples[index]), len(encoded[index].source_ids)))
    outputs = [""] * len(examples)
    was_training = model.training
    model.eval()
    for batch_indices in _same_direction(examples, length_batches(encoded, order, max(1, batch_tokens // beams))):
        batch = collate([encoded[index] for index in batch_indices], model.config.pad_token_id).to(model.device)
        language = examples[batch_indices[0]].target_language
        config.decoder_start_token_id = text_format.decoder_start_id(language)
        config.forced_bos_token_id = text_format.forced_bos_id(language)
        generated = model.generate(
            input_ids=batch.source_ids, attention_mask=batch.source_mask.long(), generation_config=config
        )
        for index, token_ids in zip(batch_indices, generated.tolist(), strict=True):
            outputs[index] = text_format.decode(token_ids)
        progress(len(batch_indices))
    model.train(was_training)
    return outputs


def _direction(example: Example) -> str:
    return example.target_language or ""


def _same_direction(examples: Sequence[Example], batches: list[list[int]]) -> list[list[int]]:
    """Split batches that hold several target languages: the decoder's first token is set for a whole batch."""
    split: list[list[int]] = []
    for batch in batches:
        languages = dict.fromkeys(_direction(examples[index]) for index in batch)
        split += [[index for index in batch if _direction(examples[index]) == language] for language in languages]
    return split
