"""Runs `dqbart compress`: settings to a plan, errors to one line."""

from __future__ import annotations

import sys

import torch
from rich.console import Console

from compress.commands.compress import Compress
from compress.compression import EXIT_INTERRUPTED, Compression, Plan
from compress.data.dataset import DatasetError, Languages, load_examples
from compress.device import pick_device, quick_at_bf16
from compress.errors import EXPECTED_ERRORS
from compress.model.teacher import load_teacher
from compress.training.loop import TrainingSettings
from compress.training.losses import LossWeights
from quant.artifact import read_artifact, sizes
from quant.scheme import Layers, Scheme


def run_compress(settings: Compress) -> int:
    """Returns the exit code: 0 done, 1 failed, 130 interrupted and saved."""
    console = Console()
    try:
        code = _compress(settings, console)
    except EXPECTED_ERRORS as error:
        print(f"dqbart compress: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dqbart compress: interrupted before training", file=sys.stderr)
        return EXIT_INTERRUPTED
    if code == 0:
        size = sizes(read_artifact(settings.output))
        console.print(
            f"[bold]{settings.output}[/bold]: {settings.layers} layers at {settings.bits}, {size.packed / 1e6:.2f} MB, "
            f"{size.ratio:.1f}x smaller than the teacher's float32 weights",
            highlight=False,
            soft_wrap=True,
        )
    return code


def _compress(settings: Compress, console: Console) -> int:
    device = pick_device(settings.device)
    languages = Languages(settings.source_language, settings.target_language, settings.both_directions)
    if settings.both_directions and len(settings.languages()) != 2:
        raise DatasetError("--both-directions needs --source-language and --target-language")
    teacher = load_teacher(
        settings.teacher,
        settings.task,
        settings.languages(),
        settings.both_directions,
        settings.source_template,
        settings.max_source_tokens,
    )
    plan = Plan(
        layers=Layers.parse(settings.layers),
        single_layer=settings.single_layer,
        scheme=Scheme.parse(settings.bits),
        training=_training(settings, device),
        decoding=settings.decoding(),
        max_target_tokens=min(settings.max_target_tokens, teacher.architecture.max_position_embeddings),
    )
    compression = Compression(teacher, plan, settings.output, device, console)
    train = load_examples(settings.train, "train", settings.task, settings.fields(), languages, settings.limit)
    valid = load_examples(settings.valid, "validation", settings.task, settings.fields(), languages, settings.valid_examples)
    return compression.run(train, valid, settings.resume)


def _training(settings: Compress, device: torch.device) -> TrainingSettings:
    return TrainingSettings(
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        learning_rate=settings.learning_rate,
        schedule=settings.schedule,
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
        batch_tokens=settings.batch_tokens,
        accumulate=settings.accumulate,
        clip_norm=settings.clip_norm,
        bf16=settings.bf16 == "on" or (settings.bf16 == "auto" and quick_at_bf16(device)),
        seed=settings.seed,
        validate_every=settings.validate_every,
        losses=LossWeights(settings.task_weight, settings.logits_weight, settings.attention_weight, settings.hidden_weight),
    )
