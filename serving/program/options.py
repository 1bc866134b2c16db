"""What a program may say by name, for type checkers; what each means is told where it is declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from serving.service.errors import ErrorCode, ServiceError
from serving.service.requests import TaskRequest, Truncation

OnError = Literal["raise", "return"]
"""What becomes of an input that is refused: its error is raised in its turn, or stands in the place of its result."""

Question = tuple[str, str | Sequence[str]]
"""A question, and the text to answer it from, or several passages, the most relevant first."""


class Parameters(TypedDict, total=False):
    """How outputs are searched for (serving/service/requests.py); what is left out has the model's own default."""

    num_beams: int
    length_penalty: float
    max_new_tokens: int
    min_new_tokens: int
    no_repeat_ngram_size: int
    encoder_no_repeat_ngram_size: int
    early_stopping: bool | Literal["never"]
    repetition_penalty: float
    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    seed: int
    num_return_sequences: int
    return_scores: bool


class Options(Parameters, total=False):
    """Of requests for summaries and answers; `truncation`, of inputs that are too long, is `error` unless given."""

    truncation: Truncation


class TranslateOptions(Options, total=False):
    """Of requests for translations; languages go by any code or name, and `truncation` is `chunk`: by sentence."""

    source: str | None
    target: str | None


REQUEST_FIELDS = {"source": "source_language", "target": "target_language", "truncation": "truncation"}


def request_fields(kind: type[TaskRequest], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the fields of such a request; what it has no field for counts as a parameter.

    Raises ServiceError for a field that has another name here.
    """
    for name, field in REQUEST_FIELDS.items():
        if field != name and field in options and field in kind.model_fields:
            raise ServiceError(ErrorCode.BAD_PARAMETER, f"{field}: here that is {name}", field)
    fields = {REQUEST_FIELDS[name]: options[name] for name in REQUEST_FIELDS.keys() & options.keys()}
    fields = {name: value for name, value in fields.items() if name in kind.model_fields}
    others = {name: value for name, value in options.items() if REQUEST_FIELDS.get(name) not in fields}
    return {**fields, "parameters": others}


class EngineOptions(TypedDict, total=False):
    """The engine's settings (serving/engine/settings.py)."""

    max_batch_rows: int
    max_cache_bytes: int
    max_queued_requests: int
    max_encode_tokens: int
    encode_tokens_per_step: int
    packed_folder: str
