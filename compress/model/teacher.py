"""The teacher: a fine-tuned BART or mBART checkpoint, and how it writes texts as token ids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from compress.data.text_format import TextFormat
from compress.errors import CompressError
from compress.model.checkpoint import CheckpointError, load_checkpoint
from quant.card import CONTEXT, SOURCE_FIELDS, SOURCE_LANGUAGE, TARGET_LANGUAGE, Card, CardError, Task
from quant.layout import Architecture, float_bytes
from quant.normalization import missing_steps

DEFAULT_TEMPLATES: dict[Task, str] = {
    "translation": "{source}",
    "summarization": "{source}",
    "question-answering": "question: {question} context: {context}",
}
PASSAGE_SEPARATOR = " "
"""Between the passages of a context, where nothing else is asked for."""
_PROBE = "a"


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
    languages: tuple[str, ...] = (),
    both_directions: bool = False,
    source_template: str | None = None,
    max_source_tokens: int | None = None,
    allow_pickle: bool = False,
    passage_separator: str | None = None,
) -> Teacher:
    """Load a local folder or a hub id; `languages` are the source's and the target's code. Raises TeacherError."""
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
    prefix, suffix, decoder_start, forced_bos = _text_format(name, tokenizer, model, languages)
    card = Card(
        task=task,
        source_template=source_template or DEFAULT_TEMPLATES[task],
        passage_separator=passage_separator,
        normalization=missing_steps(partial(_ids, tokenizer), tokenizer.unk_token_id),
        source_prefix=prefix,
        source_suffix=suffix,
        decoder_start=decoder_start,
        forced_bos=forced_bos,
        directions=_directions(languages, both_directions),
        max_source_tokens=max_source_tokens or limit,
        teacher=Path(name).resolve().name if Path(name).is_dir() else name,
        teacher_layers=str(architecture.layers),
        teacher_bytes=float_bytes(architecture),
    )
    try:
        Card.from_dict(card.to_dict())
    except CardError as error:
        raise TeacherError(str(error)) from error
    return Teacher(name, model, architecture, TextFormat(card, tokenizer), _digest(model))


def _text_format(
    name: str, tokenizer: Any, model: PreTrainedModel, languages: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...], str, str | None]:
    """Read prefix, suffix, decoder start and first target token off the tokenizer, languages replaced by placeholders."""
    known = set(tokenizer.get_vocab())
    if unknown := [language for language in languages if language not in known]:
        codes = sorted(token for token in tokenizer.all_special_tokens if "_" in token)
        raise TeacherError(f"{', '.join(unknown)}: no language code of teacher {name}, which has {', '.join(codes)}")
    if languages:
        tokenizer.src_lang = languages[0]
    bare = _ids(tokenizer, _PROBE)
    whole = tokenizer(_PROBE)["input_ids"]
    start = next(index for index in range(len(whole)) if whole[index : index + len(bare)] == bare)
    tokens = tokenizer.convert_ids_to_tokens(whole)
    prefix, suffix = tuple(tokens[:start]), tuple(tokens[start + len(bare) :])
    config_start = tokenizer.convert_ids_to_tokens(model.config.decoder_start_token_id)
    if languages and languages[0] in prefix:
        return _placeholders(prefix, languages[0]), suffix, config_start, TARGET_LANGUAGE
    if languages and languages[0] in suffix:
        return prefix, _placeholders(suffix, languages[0]), TARGET_LANGUAGE, None
    return prefix, suffix, config_start, prefix[0] if prefix else None


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _directions(languages: tuple[str, ...], both: bool) -> tuple[str, ...]:
    if len(languages) != 2:
        return ()
    source, target = languages
    return (f"{source}>{target}", f"{target}>{source}") if both else (f"{source}>{target}",)


def _placeholders(tokens: tuple[str, ...], language: str) -> tuple[str, ...]:
    return tuple(SOURCE_LANGUAGE if token == language else token for token in tokens)


def _digest(model: PreTrainedModel) -> str:
    """sha256 over names and values, the same for any file layout of the same weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"
