"""The settings by which a checkpoint generates, said in full, so that nothing is guessed later, and nothing twice.

`from_pretrained` has read them with the precedence of `generate`: generation_config.json alone where there is one, else
config.json. What neither says is settled here, once for validation, artifact and service.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from quant.generation import has_length


def settle_generation(model: PreTrainedModel, tokenizer: Any, longest: int | None = None) -> None:
    """Write into `model.generation_config` what generating needs and what it does not say, in place.

    An output starts with the decoder's start token, or `<s>` as in `generate`, or config.json's; it ends with config.json's
    end token, or the tokenizer's. Where no length is said, outputs have at most `longest` tokens, and as many as the
    model's positions allow; `generate` would stop after 20.
    """
    generation, config = model.generation_config, model.config
    if generation.decoder_start_token_id is None:
        started = (generation.bos_token_id, config.decoder_start_token_id)
        generation.decoder_start_token_id = next((token_id for token_id in started if token_id is not None), None)
    if generation.eos_token_id is None:
        generation.eos_token_id = tokenizer.eos_token_id if config.eos_token_id is None else config.eos_token_id
    if not has_length(generation.to_dict()):
        positions = config.max_position_embeddings
        generation.max_length = min(positions, positions if longest is None else longest + 1)


def eos_token_ids(model: PreTrainedModel) -> tuple[int, ...]:
    """The tokens that end an output of a model whose generation is settled."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        return ()
    return tuple(ends) if isinstance(ends, list) else (ends,)
