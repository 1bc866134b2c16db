"""The teacher: a fine-tuned BART or mBART, a checkpoint or packed, and how it writes texts as token ids."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from compress.data.text_format import TextFormat, cleans_up
from compress.errors import CompressError
from compress.model.checkpoint import CheckpointError, load_checkpoint
from compress.model.generation import eos_token_ids, settle_generation
from compress.model.token_format import TokenFormatError, read_token_format
from compress.model.told import Told, ToldError, taken_over
from quant.artifact import is_artifact, open_artifact
from quant.card import CONTEXT, SOURCE_FIELDS, Card, CardError, Task
from quant.layout import Architecture, float_bytes
from quant.normalization import missing_steps
from quant.structure import UNIFORM

DEFAULT_TEMPLATES: dict[Task, str] = {
    "translation": "{source}",
    "summarization": "{source}",
    "question-answering": "question: {question} context: {context}",
}
PASSAGE_SEPARATOR = " "
"""Between the passages of a context, where nothing else is asked for."""


class TeacherError(CompressError):
    """A model that cannot be a teacher. The message names it and says what is supported."""


@dataclass(frozen=True)
class Teacher:
    """A loaded model in float32 and evaluation mode, with attention maps available to losses."""

    name: str
    model: PreTrainedModel
    architecture: Architecture
    text_format: TextFormat
    digest: str


def load_teacher(name: str, told: Told) -> Teacher:
    """Load a local folder or a hub id: a checkpoint, or an artifact, whose card is taken over.

    A student of an artifact has that as its teacher: its name, its layers, and the float32 size of its own weights, whatever
    it was made from. The digest is of the weights in float32, the same as that of a plain copy. Raises TeacherError, and
    ToldError for what is not said or what the artifact was not made for.
    """
    artifact = open_artifact(Path(name)) if is_artifact(Path(name)) else None
    card = None if artifact is None else taken_over(name, artifact.card, told)
    try:
        model, tokenizer = load_checkpoint(name, told.allow_pickle, attn_implementation="eager")
    except CheckpointError as error:
        raise TeacherError(f"teacher {name}: {error}") from error
    model = model.eval()
    architecture = Architecture.from_config(model.config.to_dict())
    settle_generation(model, tokenizer, told.max_target_tokens)
    if card is None:
        card = _card(name, told, model, tokenizer, architecture)
    card = replace(
        card,
        teacher=Path(name).resolve().name if Path(name).is_dir() else name,
        teacher_layers=str(architecture.layers),
        teacher_bytes=float_bytes(architecture, artifact.structure if artifact else UNIFORM),
    )
    if not (ends := eos_token_ids(model)):
        raise TeacherError(f"teacher {name} has no end token: neither its settings nor its tokenizer name an eos_token_id")
    return Teacher(name, model, architecture, TextFormat(card, tokenizer, ends), _digest(model))


def _card(name: str, told: Told, model: PreTrainedModel, tokenizer: Any, architecture: Architecture) -> Card:
    """How a checkpoint is used, as it is told and as its settings and its tokenizer say."""
    if (task := told.task) is None:
        raise ToldError(f"{name} is no packed artifact, so --task is needed")
    limit = architecture.max_position_embeddings
    if told.max_source_tokens is not None and not 8 <= told.max_source_tokens <= limit:
        raise TeacherError(f"max_source_tokens is {told.max_source_tokens}: teacher {name} has positions for 8 to {limit}")
    passage_separator = told.passage_separator
    if passage_separator is None and CONTEXT in SOURCE_FIELDS[task]:
        passage_separator = PASSAGE_SEPARATOR
    try:
        written = read_token_format(tokenizer, model.generation_config, task, told.languages, told.both_directions)
    except TokenFormatError as error:
        raise TeacherError(f"teacher {name}: {error}") from error
    card = Card(
        task=task,
        source_template=told.source_template or DEFAULT_TEMPLATES[task],
        passage_separator=passage_separator,
        normalization=missing_steps(partial(_ids, tokenizer), tokenizer.unk_token_id),
        **asdict(written),
        clean_up_tokenization_spaces=cleans_up(tokenizer),
        max_source_tokens=told.max_source_tokens or limit,
        teacher=name,
        teacher_layers=str(architecture.layers),
        teacher_bytes=float_bytes(architecture),
    )
    try:
        return Card.from_dict(card.to_dict())
    except CardError as error:
        raise TeacherError(str(error)) from error


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
