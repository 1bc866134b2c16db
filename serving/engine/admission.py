"""What a request must be for a model and its settings; checked when it is submitted, before anything is computed."""

from __future__ import annotations

import math

from quant.layout import Architecture
from serving.engine.errors import InvalidRequest, SourceTooLong
from serving.engine.request import GenerationParameters, Request
from serving.engine.settings import EngineSettings

MAX_LENGTH_PENALTY = 10.0
"""Beyond it, length ** length_penalty leaves float32 for long sequences."""


def check_request(request: Request, architecture: Architecture, settings: EngineSettings) -> None:
    """Raises SourceTooLong or InvalidRequest, naming the field, its value and what is accepted."""
    positions = architecture.max_position_embeddings
    if not request.source_ids:
        raise InvalidRequest("source_ids is empty, at least one token is expected")
    if len(request.source_ids) > positions:
        raise SourceTooLong(f"the source has {len(request.source_ids)} tokens, the model takes at most {positions}")
    for token_id in request.source_ids:
        _check_token("source_ids", token_id, architecture)
    _check_parameters(request.parameters, architecture, settings)


def _check_parameters(parameters: GenerationParameters, architecture: Architecture, settings: EngineSettings) -> None:
    # The decoder's start token takes the first position.
    longest = architecture.max_position_embeddings - 1
    _check_range("max_new_tokens", parameters.max_new_tokens, 1, longest)
    _check_range("min_new_tokens", parameters.min_new_tokens, 0, parameters.max_new_tokens)
    _check_range("num_beams", parameters.num_beams, 1, settings.max_batch_rows)
    _check_range("no_repeat_ngram_size", parameters.no_repeat_ngram_size, 0, longest)
    penalty = parameters.length_penalty
    if isinstance(penalty, bool) or not isinstance(penalty, int | float) or not math.isfinite(penalty):
        raise InvalidRequest(f"length_penalty is {penalty!r}, a finite number is expected")
    if abs(penalty) > MAX_LENGTH_PENALTY:
        raise InvalidRequest(f"length_penalty is {penalty}, accepted is {-MAX_LENGTH_PENALTY} to {MAX_LENGTH_PENALTY}")
    if type(parameters.early_stopping) is not bool:
        raise InvalidRequest(f"early_stopping is {parameters.early_stopping!r}, true or false is expected")
    _check_token("decoder_start_token_id", parameters.decoder_start_token_id, architecture)
    _check_token("eos_token_id", parameters.eos_token_id, architecture)
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        if getattr(parameters, name) is not None:
            _check_token(name, getattr(parameters, name), architecture)


def _check_range(name: str, value: int, lowest: int, highest: int) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        raise InvalidRequest(f"{name} is {value!r}, accepted are whole numbers from {lowest} to {highest}")


def _check_token(name: str, token_id: int, architecture: Architecture) -> None:
    if type(token_id) is not int or not 0 <= token_id < architecture.vocab_size:
        raise InvalidRequest(f"{name} has token id {token_id!r}, the vocabulary is 0 to {architecture.vocab_size - 1}")
