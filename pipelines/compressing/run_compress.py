"""Runs `dqbart compress`: settings to a plan, errors to one line. Students are validated by the engine."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from rich.console import Console

from compress.calibrating import CalibrationPlan, Sources
from compress.commands.outcome import exit_code
from compress.commands.training_settings import training_settings
from compress.compression import Compression, Plan
from compress.data.dataset import Languages, load_examples
from compress.data.text_format import Example
from compress.model.quantized_modules import WeightScales
from compress.model.teacher import load_teacher
from compress.model.token_format import language_codes, unsaid_language
from compress.model_card import departures
from compress.structuring import StructureGoals
from compress.training.group import Group
from compress.training.losses import LossWeights
from compress.training.observers import Observation
from compress.training.on_policy import OnPolicySettings
from compress.training.origin import recorded_flags
from compress.training.workers import train_in_workers
from pipelines.compressing.compress import FULL_PRECISION, Compress
from pipelines.compressing.labelling import written_by
from pipelines.compressing.own_outputs import write_outputs
from pipelines.compressing.recipes import flags_of, told
from pipelines.scoring.validation import open_student
from quant.artifact import read_artifact, sizes
from quant.scheme import Layers, Scheme


def run_compress(settings: Compress) -> int:
    """Returns the exit code: 0 done, 1 failed, 130 interrupted and saved."""
    console = Console()
    code = exit_code("compress", lambda: _compress(settings, console))
    if code == 0 and settings.bits == FULL_PRECISION:
        console.print(
            f"[bold]{settings.output}[/bold]: {settings.layers} layers in float32", highlight=False, soft_wrap=True
        )
    elif code == 0:
        artifact = read_artifact(settings.output)
        size = sizes(artifact)
        console.print(
            f"[bold]{settings.output}[/bold]: {settings.layers} layers at {settings.bits}{departures(artifact)}, "
            f"{size.packed / 1e6:.2f} MB, {size.ratio:.1f}x smaller than the teacher's float32 weights",
            highlight=False,
            soft_wrap=True,
        )
    return code


def _compress(settings: Compress, console: Console) -> int:
    work = partial(_train, settings)
    return train_in_workers(work, settings.workers, settings.device, settings.output, settings.resume, console)


def _train(settings: Compress, group: Group, device: torch.device, resume: bool, console: Console) -> int:
    """What each process does."""
    of_teacher = settings.told()
    teacher = load_teacher(settings.teacher, of_teacher)
    card = teacher.text_format.card
    preset = flags_of(settings.recipe, teacher.architecture.d_model)
    learning_rate: float = settings.learning_rate or preset["learning_rate"]
    settings = settings.model_copy(update={"learning_rate": learning_rate})  # the manifest has it
    languages = Languages.told(of_teacher.completed(card))
    plan = Plan(
        layers=Layers.parse(settings.layers),
        single_layer=settings.single_layer,
        scheme=None if settings.bits == FULL_PRECISION else Scheme.parse(settings.bits),
        training=replace(
            training_settings(settings, _losses(settings), learning_rate),
            on_policy=OnPolicySettings(settings.on_policy, settings.on_policy_every),
        ),
        decoding=settings.decoding(),
        max_target_tokens=min(settings.max_target_tokens, teacher.architecture.max_position_embeddings),
        scales=WeightScales(settings.scales == "learned", settings.clip, settings.ternary),
        structure=StructureGoals(settings.prune_heads, settings.target_ratio, settings.measure_batches),
        calibration=CalibrationPlan(
            settings.calibrate, settings.calibration_examples, settings.tune_scales, settings.tune_steps
        ),
    )
    fields, tell = settings.fields(), partial(console.print, markup=False, highlight=False, soft_wrap=True)

    def load(name: str, split: str, limit: int | None, labels: bool = True) -> list[Example]:
        return load_examples(name, split, card.task, fields, languages, limit, tell, labels)

    def train() -> list[Example]:
        labels = settings.reads_labels
        return [example for name in settings.train for example in load(name, "train", settings.limit, labels)]

    def calibration_texts() -> list[Example]:
        names = settings.calibration or settings.train[:1]
        return [example for name in names for example in load(name, "train", settings.limit, labels=False)]

    observation = Observation(settings.tensorboard, settings.metrics_port)
    compression = Compression(
        teacher,
        plan,
        settings.output,
        device,
        console,
        group,
        recorded_flags(settings),
        observation,
        open_student,
        preset,
        Sources(calibration_texts, written_by),
        write_outputs,
    )
    tell(told(settings.recipe, preset, settings.model_dump()))
    if code := unsaid_language(card, language_codes(teacher.text_format.tokenizer)):
        tell(
            f"warning: sources are marked as {code}, and nothing says which language outputs are in: "
            "--source-language and --target-language do"
        )
    return compression.run(train, lambda: load(settings.valid, "validation", settings.valid_examples), resume)


def _losses(settings: Compress) -> LossWeights:
    return LossWeights(
        task=settings.task_weight,
        logits=settings.logits_weight,
        attention=settings.attention_weight,
        hidden=settings.hidden_weight,
        kl=settings.kl_weight,
        temperature=settings.temperature,
        divergence=settings.divergence,
    )
