"""The engine's nouns. Each field says who fills it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["eos", "length"]


@dataclass(frozen=True)
class GenerationParameters:
    """How one request is decoded; resolved by the service from the request, the artifact's defaults and its limits.

    Names and meanings are those of `transformers`. Lengths count generated tokens, without the decoder's start token.
    """

    max_new_tokens: int
    decoder_start_token_id: int
    eos_token_ids: tuple[int, ...]
    """Each ends a sequence."""
    min_new_tokens: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    """No n-gram of the source may be generated; 0 is off."""
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    """Sequences of tokens that may not be generated; a lone eos is left out, as in `transformers`."""
    repetition_penalty: float = 1.0
    do_sample: bool = False
    """Draw tokens instead of taking the likeliest; with one beam only."""
    temperature: float = 1.0
    top_k: int = 0
    """Draw among this many likeliest tokens; 0 is off."""
    top_p: float = 1.0
    seed: int = 0
    """Of the draws: the same seed draws the same tokens, whoever else is in the batch."""
    num_return_sequences: int = 1
    """Answers to one request: the best ended beams, or as many draws."""
    return_scores: bool = False
    """Whether the result tells the score and the log-probability of each token."""
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None


@dataclass(frozen=True)
class Request:
    """One source to generate from; filled by the service."""

    source_ids: tuple[int, ...]
    parameters: GenerationParameters
    stream: bool = False
    """Whether tokens are emitted as soon as they are certain; those of beams are when all that may still win share them."""


@dataclass(frozen=True)
class GeneratedSequence:
    """One answer; filled by the search of the request."""

    token_ids: tuple[int, ...]
    """Generated ids without the decoder's start token; the closing eos is included when there is one."""
    finish_reason: FinishReason
    """`eos` when the model ended the sequence by itself, `length` when max_new_tokens did, by a forced end too."""
    score: float | None = None
    """Sum of log-probabilities, forced tokens counting 0, over generated length ** length_penalty; None unless asked for."""
    token_log_probabilities: tuple[float, ...] | None = None
    """Of each generated token; forced tokens have 0. None unless asked for."""


@dataclass(frozen=True)
class Result:
    """What the engine made of a request; filled by the engine when the request finishes."""

    sequences: tuple[GeneratedSequence, ...]
    """As many as num_return_sequences; of beams the best first."""
    queue_seconds: float
    """From submission to the start of its encoding."""
    encode_seconds: float
    """From the start of its encoding to its end; steps of others lie between when it is encoded in several slices."""
    decode_seconds: float
    first_token_seconds: float = 0.0
    """From submission to the end of the step that decoded its first token."""
