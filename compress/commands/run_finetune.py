"""Runs `dqbart finetune`: settings to a plan, errors to one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from compress.commands.finetune import Finetune
from compress.commands.outcome import exit_code
from compress.commands.training_settings import training_settings
from compress.data.dataset import Languages, load_examples
from compress.data.encoded import Encoded
from compress.data.text_format import Example
from compress.data.texts import load_texts, segments
from compress.finetuning import FinetunePlan, finetune, write_initial
from compress.model.teacher import load_teacher
from compress.training.group import Group
from compress.training.losses import LossWeights
from compress.training.observers import Observation
from compress.training.origin import recorded_flags
from compress.training.progress import advancing
from compress.training.workers import train_in_workers
from quant.card import passages


def run_finetune(settings: Finetune) -> int:
    """Returns the exit code: 0 done, 1 failed, 130 interrupted and saved."""
    console = Console()
    code = exit_code("finetune", lambda: _finetune(settings, console))
    if code == 0:
        console.print(f"[bold]{settings.output}[/bold]: the best checkpoint of its validations", highlight=False)
    return code


def _finetune(settings: Finetune, console: Console) -> int:
    initial = settings.output / "training" / "initial"
    if not settings.resume:
        checkpoint, config = settings.checkpoint, settings.from_config
        sizes = settings.new_vocabulary, settings.max_positions, settings.sinusoidal_positions
        write_initial(
            initial, checkpoint, config, *sizes, lambda: _vocabulary_texts(settings), settings.seed, settings.allow_pickle
        )
    work = partial(_train, settings, initial)
    return train_in_workers(work, settings.workers, settings.device, settings.output, settings.resume, console)


def _train(settings: Finetune, initial: Path, group: Group, device: torch.device, resume: bool, console: Console) -> int:
    """What each process does."""
    teacher = load_teacher(str(initial), settings.told())
    plan = FinetunePlan(
        objective=settings.objective,
        training=training_settings(
            settings, LossWeights(task=1.0, logits=0.0, attention=0.0, hidden=0.0), settings.learning_rate
        ),
        decoding=settings.decoding(),
        max_target_tokens=min(settings.max_target_tokens, teacher.architecture.max_position_embeddings),
        dropout=settings.dropout,
    )
    flags, observation = recorded_flags(settings), Observation(settings.tensorboard, settings.metrics_port)
    if settings.objective == "denoising":
        fields = settings.fields()
        length = min(settings.segment_tokens, teacher.architecture.max_position_embeddings)

        def cut(names: Sequence[str], split: str, most: int | None) -> Iterator[Encoded]:
            return segments(load_texts(names, split, fields.source, most, fields.reading), teacher.text_format, length)

        train = partial(cut, settings.train, "train", settings.limit)
        valid = partial(cut, settings.valid, "validation", settings.valid_examples)
        return finetune(
            teacher, train, lambda: list(valid()), plan, settings.output, device, console, resume, flags, observation, group
        )
    tell = partial(console.print, markup=False, highlight=False, soft_wrap=True)

    def encoded() -> Iterator[Encoded]:
        examples = _examples(settings, settings.train, "train", settings.limit, tell)
        with advancing(console, "encoding", len(examples)) as advance:
            yield from teacher.text_format.encode_all(examples, plan.max_target_tokens, advance)

    scored = partial(_examples, settings, settings.valid, "validation", settings.valid_examples, tell)
    return finetune(teacher, encoded, scored, plan, settings.output, device, console, resume, flags, observation, group)


def _examples(
    settings: Finetune, names: Sequence[str], split: str, limit: int | None, tell: Callable[[str], None] = lambda _: None
) -> list[Example]:
    told, fields = settings.told(), settings.fields()
    assert told.task is not None, "a fault otherwise"
    languages = Languages.told(told)
    return [example for name in names for example in load_examples(name, split, told.task, fields, languages, limit, tell)]


def _vocabulary_texts(settings: Finetune) -> list[str]:
    if settings.objective == "denoising":
        fields = settings.fields()
        return load_texts(settings.train, "train", fields.source, settings.limit, fields.reading)
    examples = _examples(settings, settings.train, "train", settings.limit)
    sources = (text for example in examples for field in example.texts.values() for text in passages(field))
    return list(dict.fromkeys([*sources, *(example.target for example in examples)]))
