"""The served models: checked where the server is started, opened where they run, chosen by name, exchanged while they run.

Checking looks at a whole artifact and its tokenizer, so that a damaged one stops `dqbart serve` at once and not minutes
later inside a replica.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from quant.artifact import Artifact, ArtifactError, check_tensors, open_artifact, sizes
from quant.card import Card, Task
from quant.errors import Error
from quant.generation import GenerationConfigError
from quant.tokenizer_file import TokenizerError
from serving.engine.request import Request, Result
from serving.service.descriptions import Evaluation, ModelDescription
from serving.service.errors import ErrorCode, ServiceError, shown
from serving.service.evaluations import kept_evaluations
from serving.service.generation import GenerationDefaults
from serving.service.line import Line
from serving.service.text import TextCodec


class ModelError(Error, ValueError):
    """A model that cannot be served. The message says which and why."""


class Generator(Protocol):
    """What the service needs of an engine."""

    async def generate(self, request: Request) -> Result:
        """Raises EngineFull, EngineClosed, InvalidRequest, GenerationFailed."""

    def stream(self, request: Request) -> AsyncGenerator[tuple[int, ...] | Result]:
        """Token ids as soon as they are certain, then the result. Raises what `generate` raises."""

    @property
    def loaded(self) -> bool:
        """Whether it is in memory, so that a request need not wait for that."""

    @property
    def fault(self) -> str | None:
        """Why it generates no more; None while it does."""

    def close(self) -> None:
        """Stop for good; what is not finished gets EngineClosed."""


@dataclass(frozen=True)
class CheckedModel:
    """An artifact found fit to serve; small enough to send to the replicas."""

    name: str
    folder: Path
    card: Card
    defaults: GenerationDefaults
    vocab_size: int
    scheme: str
    layers: str
    size_bytes: int
    compression_ratio: float
    evaluations: tuple[Evaluation, ...]

    def codec(self) -> TextCodec:
        return TextCodec(self.folder, self.card, self.vocab_size)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A checked model with all it needs to answer. Two of the same name may run at a time, while one replaces the other."""

    checked: CheckedModel
    codec: TextCodec
    engine: Generator
    line: Line = field(default_factory=Line)
    """Of those who wait for room in the engine's queue."""

    @property
    def name(self) -> str:
        return self.checked.name


def left_to_the_engine(_: Artifact) -> None:
    """What its tensors hold: the engine that is opened next reads them, and finds what is wrong with them."""


def check_model(
    name: str, folder: Path, max_rows: int, check_weights: Callable[[Artifact], None] = check_tensors
) -> CheckedModel:
    """Read everything of an artifact that serving needs. Raises ModelError.

    `check_weights` looks at what its tensors hold, or leaves that to who reads them next; it raises ArtifactError.
    """
    try:
        artifact = open_artifact(folder)
        check_weights(artifact)
        architecture, card = artifact.architecture, artifact.card
        defaults = GenerationDefaults.of(artifact)
        size = sizes(artifact)
        checked = CheckedModel(
            name=name,
            folder=folder,
            card=card,
            defaults=defaults,
            vocab_size=architecture.vocab_size,
            scheme=str(artifact.scheme),
            layers=str(architecture.layers),
            size_bytes=size.packed,
            compression_ratio=size.ratio,
            evaluations=tuple(kept_evaluations(folder, card.teacher)),
        )
        checked.codec()
    except GenerationConfigError as error:
        raise ModelError(f"{name}: {folder / 'generation_config.json'}: {error}") from error
    except (ArtifactError, TokenizerError) as error:
        raise ModelError(f"{name}: {error}") from error
    if defaults.num_beams > max_rows:
        raise ModelError(f"{name}: its default of {defaults.num_beams} beams is above max_batch_rows = {max_rows}")
    return checked


def default_models(models: Sequence[CheckedModel], chosen: Mapping[Task, str | None]) -> dict[Task, str]:
    """Task → model for requests that name none: the chosen one, else the first of that task. Raises ModelError."""
    for task, name in chosen.items():
        able = [model.name for model in models if model.card.task == task]
        if name is not None and name not in able:
            key = f"default_{task.replace('-', '_')}"
            raise ModelError(f"{key} = {name!r}: no served model for {task}; there are: {', '.join(able) or 'none'}")
    defaults: dict[Task, str] = {}
    for model in models:
        defaults.setdefault(model.card.task, chosen.get(model.card.task) or model.name)
    return defaults


@dataclass(frozen=True)
class _Table:
    models: dict[str, ServedModel]
    defaults: dict[Task, str]


class Models:
    """The served models by name. All of it is for one event loop."""

    def __init__(self, models: Sequence[ServedModel] = (), defaults: Mapping[Task, str] | None = None) -> None:
        self._table = _Table({}, {})
        self._requests: Counter[ServedModel] = Counter()
        self.exchange(models, defaults or {})

    def exchange(self, models: Sequence[ServedModel], defaults: Mapping[Task, str]) -> None:
        """Serve these from the next request on; a request that has begun keeps the model that it has."""
        self._table = _Table({model.name: model for model in models}, dict(defaults))

    def __getitem__(self, name: str) -> ServedModel:
        return self._table.models[name]

    @property
    def names(self) -> list[str]:
        return list(self._table.models)

    @contextmanager
    def chosen(self, task: Task, name: str | None) -> Iterator[ServedModel]:
        """`choose`, and the model is in use until the end of the block."""
        model = self.choose(task, name)
        self._requests[model] += 1
        try:
            yield model
        finally:
            self._requests[model] -= 1
            if not self._requests[model]:
                del self._requests[model]

    def in_use(self, model: ServedModel) -> bool:
        """Whether a request has it, also after it was exchanged for another."""
        return model in self._requests

    def choose(self, task: Task, name: str | None) -> ServedModel:
        """The named model, or the task's default. Raises ServiceError (unknown_model, wrong_task)."""
        models, defaults = self._table.models, self._table.defaults
        able = [model.name for model in models.values() if model.checked.card.task == task]
        if name is None and task not in defaults:
            raise ServiceError(ErrorCode.UNKNOWN_MODEL, f"no model for {task} is served", "model")
        wanted = defaults[task] if name is None else name
        model = models.get(wanted)
        if model is None:
            message = f"model = {shown(wanted)} is not served; for {task} there {_are(able)}"
            raise ServiceError(ErrorCode.UNKNOWN_MODEL, message, "model")
        if model.name not in able:
            others = f"; for that there {_are(able)}" if able else ""
            message = f"{model.name} does {model.checked.card.task}, not {task}{others}"
            raise ServiceError(ErrorCode.WRONG_TASK, message, "model")
        return model

    def faults(self) -> dict[str, str]:
        """Model → why its engine generates no more, of those that do not."""
        return {model.name: fault for model in self._table.models.values() if (fault := model.engine.fault) is not None}

    def describe(self) -> list[ModelDescription]:
        """What clients may know of each model."""
        return [self._describe(model.checked, model.engine.loaded) for model in self._table.models.values()]

    def _describe(self, model: CheckedModel, loaded: bool) -> ModelDescription:
        return ModelDescription(
            name=model.name,
            task=model.card.task,
            is_default=self._table.defaults.get(model.card.task) == model.name,
            languages=list(model.card.languages),
            scheme=model.scheme,
            layers=model.layers,
            size_bytes=model.size_bytes,
            compression_ratio=round(model.compression_ratio, 2),
            max_source_tokens=model.card.max_source_tokens,
            defaults=model.defaults.requested(),
            teacher=model.card.teacher,
            teacher_layers=model.card.teacher_layers,
            teacher_bytes=model.card.teacher_bytes,
            evaluations=list(model.evaluations),
            loaded=loaded,
        )


def _are(names: Sequence[str]) -> str:
    return f"is {names[0]}" if len(names) == 1 else f"are {', '.join(names)}" if names else "is none"
