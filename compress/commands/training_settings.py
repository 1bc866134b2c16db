"""The flags that all training commands share, as the loop takes them."""

from __future__ import annotations

from compress.commands.flags import TrainingFlags
from compress.training.loop import TrainingSettings
from compress.training.losses import LossWeights
from compress.training.pace import TimeLimit


def training_settings(settings: TrainingFlags, losses: LossWeights, learning_rate: float) -> TrainingSettings:
    """What the flags shared by all training commands say, with what each has of its own."""
    return TrainingSettings(
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        learning_rate=learning_rate,
        schedule=settings.schedule,
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
        batch_tokens=settings.batch_tokens,
        accumulate=settings.accumulate,
        clip_norm=settings.clip_norm,
        bf16="auto" if settings.bf16 == "auto" else settings.bf16 == "on",
        seed=settings.seed,
        validate_every=settings.validate_every,
        losses=losses,
        limit=None if settings.max_minutes is None else TimeLimit(settings.max_minutes, settings.minutes_of),
    )
