"""What a request must be for a model and its settings; checked when it is submitted, before anything is computed."""

from __future__ import annotations

import sys

from quant.layout import Architecture
from serving.engine.errors import InvalidRequest, SourceTooLong
from serving.engine.request import GenerationParameters, Request
from serving.engine.settings import EngineSettings

MAX_LENGTH_PENALTY = 10.0
"""Beyond it, length ** length_penalty leaves float32 for long sequences."""
REPETITION_PENALTIES = (1e-3, 1e3)
"""Beyond them, penalized values could leave float32."""
MAX_SEED = 2**63 - 1


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
    _check_flag("stream", request.stream)
    count = request.parameters.num_return_sequences
    if request.stream and count > 1:
        raise InvalidRequest(
            f"stream is true with num_return_sequences = {count}: one sequence can be streamed, "
            "num_return_sequences = 1 is accepted"
        )


def check_cache_bytes(cache_bytes: int, most: int) -> None:
    """Raises InvalidRequest when a request alone would take more cache memory than there may be."""
    if cache_bytes > most:
        raise InvalidRequest(
            f"the request's caches may take {cache_bytes} bytes, max_cache_bytes is {most}: a shorter "
            "source, a smaller max_new_tokens or fewer beams or sequences are accepted"
        )


def _check_parameters(parameters: GenerationParameters, architecture: Architecture, settings: EngineSettings) -> None:
    # The decoder's start token takes the first position.
    longest = architecture.max_position_embeddings - 1
    _check_range("max_new_tokens", parameters.max_new_tokens, 1, longest)
    _check_range("min_new_tokens", parameters.min_new_tokens, 0, parameters.max_new_tokens)
    _check_range("num_beams", parameters.num_beams, 1, settings.max_batch_rows)
    for name in ("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"):
        _check_range(name, getattr(parameters, name), 0, longest)
    _check_number("length_penalty", parameters.length_penalty, -MAX_LENGTH_PENALTY, MAX_LENGTH_PENALTY)
    _check_number("repetition_penalty", parameters.repetition_penalty, *REPETITION_PENALTIES)
    for name in ("do_sample", "return_scores"):
        _check_flag(name, getattr(parameters, name))
    if parameters.early_stopping != "never":
        _check_flag("early_stopping", parameters.early_stopping, ', or "never"')
    _check_sampling(parameters)
    _check_sequences(parameters, settings)
    _check_token("decoder_start_token_id", parameters.decoder_start_token_id, architecture)
    if not parameters.eos_token_ids:
        raise InvalidRequest("eos_token_ids is empty, at least one token is expected")
    for token_id in parameters.eos_token_ids:
        _check_token("eos_token_ids", token_id, architecture)
    for word in parameters.bad_words_ids:
        if not word:
            raise InvalidRequest("bad_words_ids has an empty word, at least one token is expected in each")
        for token_id in word:
            _check_token("bad_words_ids", token_id, architecture)
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        if getattr(parameters, name) is not None:
            _check_token(name, getattr(parameters, name), architecture)


def _check_sampling(parameters: GenerationParameters) -> None:
    if not _is_number(parameters.temperature) or not 0 < parameters.temperature <= sys.float_info.max:
        raise InvalidRequest(f"temperature is {parameters.temperature!r}, a finite number above 0 is expected")
    if type(parameters.top_k) is not int or parameters.top_k < 0:
        raise InvalidRequest(f"top_k is {parameters.top_k!r}, a whole number of at least 0 is expected, 0 being off")
    if not _is_number(parameters.top_p) or not 0 < parameters.top_p <= 1:
        raise InvalidRequest(f"top_p is {parameters.top_p!r}, a number above 0 and up to 1 is expected")
    _check_range("seed", parameters.seed, 0, MAX_SEED)
    if parameters.do_sample and parameters.num_beams > 1:
        raise InvalidRequest(f"do_sample is true with num_beams = {parameters.num_beams}: num_beams = 1 is accepted")


def _check_sequences(parameters: GenerationParameters, settings: EngineSettings) -> None:
    count = parameters.num_return_sequences
    if parameters.do_sample:
        _check_range("num_return_sequences", count, 1, settings.max_batch_rows)
    elif type(count) is not int or not 1 <= count <= parameters.num_beams:
        raise InvalidRequest(
            f"num_return_sequences is {count!r}, accepted are whole numbers from 1 to num_beams = {parameters.num_beams}, "
            "or more with do_sample"
        )


def _check_range(name: str, value: int, lowest: int, highest: int) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        raise InvalidRequest(f"{name} is {value!r}, accepted are whole numbers from {lowest} to {highest}")


def _check_number(name: str, value: float, lowest: float, highest: float) -> None:
    if not _is_number(value) or not lowest <= value <= highest:
        raise InvalidRequest(f"{name} is {value!r}, accepted are numbers from {lowest:g} to {highest:g}")


def _is_number(value: float) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float)


def _check_flag(name: str, value: object, others: str = "") -> None:
    if type(value) is not bool:
        raise InvalidRequest(f"{name} is {value!r}, true or false{others} is expected")


def _check_token(name: str, token_id: int, architecture: Architecture) -> None:
    if type(token_id) is not int or not 0 <= token_id < architecture.vocab_size:
        raise InvalidRequest(f"{name} has token id {token_id!r}, the vocabulary is 0 to {architecture.vocab_size - 1}")
