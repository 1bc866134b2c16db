"""The teacher: a fine-tuned BART or mBART checkpoint, and how it writes texts as token ids."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from compress.data.text_format import TextFormat, cleans_up
from compress.errors import CompressError
from compress.model.checkpoint import CheckpointError, load_checkpoint
from compress.model.generation import eos_token_ids, settle_generation
from compress.model.token_format import LanguagePair, TokenFormatError, read_token_format
from quant.card import CONTEXT, SOURCE_FIELDS, Card, CardError, Task
from quant.layout import Architecture, float_bytes
from quant.normalization import missing_steps

DEFAULT_TEMPLATES: dict[Task, str] = {
    "translation": "{source}",
    "summarization": "{source}",
    "question-answering": "question: {question} context: {context}",
}
PASSAGE_SEPARATOR = " "
"""Between the passages of a context, where nothing else is asked for."""


class TeacherError(CompressError):
    """A checkpoint that cannot be a teacher. The message names it and says what is supported."""


@dataclass(frozen=True)
class Teacher:
    """A loaded checkpoint in float32 and evaluation mode, with attention maps available to losses."""

    name: str
    model: PreTrainedModel
    architecture: Architecture
    text_format: TextFormat
    digest: str


def load_teacher(
    name: str,
    task: Task,
    languages: LanguagePair = (),
    both_directions: bool = False,
    source_template: str | None = None,
    max_source_tokens: int | None = None,
    allow_pickle: bool = False,
    passage_separator: str | None = None,
    max_target_tokens: int | None = None,
) -> Teacher:
    """Load a local folder or a hub id; `languages` are the source's and the target's code. Raises TeacherError.

    Where the checkpoint says no length of outputs, `max_target_tokens` is the longest.
    """
    try:
        model, tokenizer = load_checkpoint(name, allow_pickle, attn_implementation="eager")
    except CheckpointError as error:
        raise TeacherError(f"teacher {name}: {error}") from error
    model = model.eval()
    architecture = Architecture.from_config(model.config.to_dict())
    limit = architecture.max_position_embeddings
    if max_source_tokens is not None and not 8 <= max_source_tokens <= limit:
        raise TeacherError(f"max_source_tokens is {max_source_tokens}: teacher {name} has positions for 8 to {limit}")
    if passage_separator is None and CONTEXT in SOURCE_FIELDS[task]:
        passage_separator = PASSAGE_SEPARATOR
    settle_generation(model, tokenizer, max_target_tokens)
    try:
        written = read_token_format(tokenizer, model.generation_config, task, languages, both_directions)
    except TokenFormatError as error:
        raise TeacherError(f"teacher {name}: {error}") from error
    card = Card(
        task=task,
        source_template=source_template or DEFAULT_TEMPLATES[task],
        passage_separator=passage_separator,
        normalization=missing_steps(partial(_ids, tokenizer), tokenizer.unk_token_id),
        **asdict(written),
        clean_up_tokenization_spaces=cleans_up(tokenizer),
        max_source_tokens=max_source_tokens or limit,
        teacher=Path(name).resolve().name if Path(name).is_dir() else name,
        teacher_layers=str(architecture.layers),
        teacher_bytes=float_bytes(architecture),
    )
    try:
        Card.from_dict(card.to_dict())
    except CardError as error:
        raise TeacherError(str(error)) from error
    if not (ends := eos_token_ids(model)):
        raise TeacherError(f"teacher {name} has no end token: neither its settings nor its tokenizer name an eos_token_id")
    return Teacher(name, model, architecture, TextFormat(card, tokenizer, ends), _digest(model))


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _digest(model: PreTrainedModel) -> str:
    """sha256 over names and values, the same for any file layout of the same weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"
