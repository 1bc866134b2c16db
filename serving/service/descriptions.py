"""What clients are told of the served models."""

from __future__ import annotations

from quant.card import Task
from serving.service.messages import Message
from serving.service.requests import GenerationParameters


class Score(Message):
    """What a metric says of the model, and of the teacher that it was distilled from."""

    metric: str
    student: float | None = None
    """The served model's; absent where only the teacher was scored."""
    teacher: float | None = None
    """Absent where the teacher was not scored on the same data with the same decoding."""


class Evaluation(Message):
    """What a model was scored on, and how it did."""

    data: str
    """Name of the data set or file, as it was given to dqbart evaluate."""
    source_language: str | None = None
    """Code of the direction's source; absent for models of one language."""
    target_language: str | None = None
    examples: int
    """How many the scores are of."""
    decoding: GenerationParameters
    """How outputs were searched for, as far as it was recorded."""
    scores: list[Score]


class ModelDescription(Message):
    """A served model, and how it may be asked."""

    name: str
    task: Task
    is_default: bool
    """Whether requests of its task that name no model go to it."""
    languages: list[str]
    """Language codes accepted as source and target; empty for models of one language."""
    scheme: str
    """Bits of weights, embeddings and activations."""
    layers: str
    """Encoder and decoder layers."""
    size_bytes: int
    """Bytes of the packed weights on disk."""
    compression_ratio: float
    """How many times smaller than the teacher's float32 weights."""
    max_source_tokens: int
    """Longest accepted input in tokens, language and end tokens included."""
    defaults: GenerationParameters
    """What holds where a request leaves a parameter out."""
    teacher: str
    """Name of the model that it was distilled from."""
    teacher_layers: str
    """The teacher's encoder and decoder layers."""
    teacher_bytes: int
    """Bytes of the teacher's weights in float32."""
    evaluations: list[Evaluation]
    """Scores that came with the model; empty where it was not evaluated."""
    loaded: bool
    """Whether the replica that answers has it in memory; else the next request waits until it has."""


class ModelList(Message):
    """Every served model."""

    models: list[ModelDescription]
