"""The engine's nouns. Each field says who fills it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["eos", "length"]


@dataclass(frozen=True)
class GenerationParameters:
    """How one request is decoded; resolved by the service from the request, the artifact's defaults and its limits.

    Lengths count generated tokens, without the decoder's start token, as `max_new_tokens` does in `transformers`.
    """

    max_new_tokens: int
    decoder_start_token_id: int
    eos_token_id: int
    min_new_tokens: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = False
    no_repeat_ngram_size: int = 0
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None


@dataclass(frozen=True)
class Request:
    """One source to generate from; filled by the service."""

    source_ids: tuple[int, ...]
    parameters: GenerationParameters


@dataclass(frozen=True)
class Result:
    """What the engine made of a request; filled by the engine when the request finishes."""

    token_ids: tuple[int, ...]
    """Generated ids without the decoder's start token; the closing eos is included when there is one."""
    finish_reason: FinishReason
    """`eos` when the model ended the sequence by itself, `length` when max_new_tokens did, by a forced end too."""
    score: float
    """Sum of log-probabilities, forced tokens counting 0, over generated length ** length_penalty."""
    queue_seconds: float
    """From submission to the start of its encoding."""
    encode_seconds: float
    decode_seconds: float
