"""`dqbart finetune`: a teacher is made, the paper's first step, by the loop, data and metrics of `compress`.

    checkpoint, or a configuration ─► OUTPUT/training/initial ─► train ─► the best of its validations in OUTPUT

With the denoising objective a checkpoint is pretrained as BART was, so that a small model can be made where there is none to
start from.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel, set_seed

from compress.data.batches import collate, length_batches
from compress.data.denoising import Denoising
from compress.data.encoded import Encoded
from compress.data.text_format import Example
from compress.errors import CompressError
from compress.model.checkpoint import CheckpointError, check_architecture, load_checkpoint
from compress.model.embeddings import save_checkpoint, settle_embeddings
from compress.model.teacher import Teacher
from compress.model.token_losses import TokenWeights, token_losses
from compress.model.vocabulary import extend_positions, sinusoidal_positions, train_tokenizer, use_vocabulary
from compress.scoring.decoder import PlainDecoder
from compress.scoring.decoding import DecodingSettings
from compress.scoring.evaluation import evaluate
from compress.training.group import Alone, Group
from compress.training.loop import Noise, Trainer, TrainingSettings
from compress.training.losses import LayerMap, outputs_of
from compress.training.observers import LOG_ONLY, Observation
from compress.training.origin import origin
from compress.training.run import TrainingRun, Validate
from compress.training.shared_examples import shared_examples
from quant.layout import ArchitectureError
from quant.whole_files import whole_files, whole_folder

Objective = Literal["task", "denoising"]


class FinetuneError(CompressError):
    """A checkpoint or a configuration that a model cannot be made of as asked."""


@dataclass(frozen=True)
class FinetunePlan:
    """Everything that decides the result, with the training settings."""

    objective: Objective
    training: TrainingSettings
    decoding: DecodingSettings
    max_target_tokens: int
    dropout: float


def write_initial(
    folder: Path,
    checkpoint: str | None,
    config: Path | None,
    vocabulary: int | None,
    positions: int | None,
    sinusoidal: bool,
    texts: Callable[[], Sequence[str]],
    seed: int,
    allow_pickle: bool = False,
) -> None:
    """Write what training starts from as a plain checkpoint folder.

    `checkpoint` is a folder or hub id; without one, weights are random in the shape of the file `config`, with the tokenizer
    beside it; `sinusoidal` positions take the place of learned ones. Where there is no tokenizer, or `vocabulary` asks for
    one of so many tokens, one is trained on `texts`.
    Raises FinetuneError and WriteError.
    """
    set_seed(seed)
    model, tokenizer = _loaded(checkpoint, allow_pickle) if checkpoint else _random(config)
    try:
        check_architecture(model.config)
    except ArchitectureError as error:
        raise FinetuneError(f"{checkpoint or config}: {error}") from error
    settle_embeddings(model, missing=())
    if positions is not None:
        extend_positions(model, positions)
    if sinusoidal:
        sinusoidal_positions(model)
    if vocabulary is not None or tokenizer is None:
        size = vocabulary or model.config.vocab_size
        new = train_tokenizer(texts(), size, model.config.max_position_embeddings)
        use_vocabulary(model, tokenizer if checkpoint else None, new)
        tokenizer = new
    if len(tokenizer) > model.config.vocab_size:
        raise FinetuneError(f"vocab_size is {model.config.vocab_size}, but the tokenizer has {len(tokenizer)} tokens")
    with whole_folder(folder) as partial:
        save_checkpoint(model, partial)
        tokenizer.save_pretrained(partial)


def finetune(
    teacher: Teacher,
    train: Callable[[], Iterable[Encoded]],
    valid: Callable[[], Sequence[Encoded] | Sequence[Example]],
    plan: FinetunePlan,
    output: Path,
    device: torch.device,
    console: Console,
    resume: bool,
    flags: Mapping[str, Any],
    observation: Observation = LOG_ONLY,
    group: Group | None = None,
) -> int:
    """Train the teacher's model; `valid` gives examples to score, or segments to denoise. Returns the exit code of the run.

    Data is read by rank 0 of the group alone. `flags` are for the manifest.
    """
    group = group or Alone()
    model = teacher.model.to(device)
    for name in ("dropout", "attention_dropout", "activation_dropout"):
        _set_dropout(model, name, plan.dropout if name == "dropout" else 0.0)
    noise: Noise | None = None
    if plan.objective == "denoising":
        card = teacher.text_format.card
        noise = Denoising(teacher.text_format.tokenizer, len(card.source_prefix), len(card.source_suffix))
    run = TrainingRun(output, {**asdict(plan), "initial": teacher.digest}, console, observation)
    run.check(resume)
    plan.decoding.over(model)  # what it cannot generate by is an error before the work
    set_seed(plan.training.seed)

    def keep_best(_: int) -> None:
        model.generation_config = plan.decoding.resolved(model, teacher.text_format)
        with whole_files(output) as partial:
            save_checkpoint(model, partial)
            teacher.text_format.tokenizer.save_pretrained(partial)

    folder = output / "training"
    scored = valid() if group.rank == 0 else []
    with shared_examples(folder / "examples", train, group) as examples:
        if group.rank == 0:
            run.origin = origin("finetune", flags, plan.training.seed, device, teacher, examples, scored)
            console.print(teacher.text_format.summary("train", examples, plan.max_target_tokens), soft_wrap=True)
        trainer = Trainer(model, None, LayerMap([], []), examples, plan.training, noise, group, folder / "bad_batch")
        validate = _denoised(trainer, noise, scored) if noise else _scored(teacher, scored, plan, console)
        return run.train(trainer, len(scored), validate, keep_best)


def _scored(teacher: Teacher, valid: Any, plan: FinetunePlan, console: Console) -> Validate:
    def validate(advance: Callable[[int], None]) -> tuple[Mapping[str, float], float]:
        decoder = PlainDecoder(teacher.model, teacher.text_format, plan.decoding, 2 * plan.training.batch_tokens)
        evaluation = evaluate(decoder, valid, advance)
        if evaluation.warning:
            console.print(evaluation.warning, markup=False, highlight=False, soft_wrap=True)
        return evaluation.scores.values, evaluation.scores.selected

    return validate


def _denoised(trainer: Trainer, noise: Noise, valid: Any) -> Validate:
    """Cross-entropy and perplexity a token, under the same noise at every validation."""
    model, settings = trainer.student, trainer.settings
    noisy = [noise(example, random.Random(index)) for index, example in enumerate(valid)]
    order = sorted(range(len(noisy)), key=lambda index: len(noisy[index].source_ids))
    batches = length_batches(noisy, order, settings.batch_tokens)

    @torch.inference_mode()
    def validate(advance: Callable[[int], None]) -> tuple[Mapping[str, float], float]:
        model.eval()
        total, count = 0.0, 0
        for indices in batches:
            batch = collate([noisy[index] for index in indices], model.config.pad_token_id).to(model.device)
            outputs, labels = (
                outputs_of(model, batch, settings.losses, trainer.bf16),
                batch.labels[batch.target_mask],
            )
            total += float(token_losses(outputs.head, labels, None, TokenWeights())["task"]) * len(labels)
            count += len(labels)
            advance(len(indices))
        loss = total / count
        return {"cross-entropy": loss, "perplexity": math.exp(loss)}, -loss

    return validate


def _loaded(checkpoint: str, allow_pickle: bool) -> tuple[PreTrainedModel, Any]:
    try:
        return load_checkpoint(checkpoint, allow_pickle)
    except CheckpointError as error:
        raise FinetuneError(f"checkpoint {checkpoint}: {error}") from error


def _random(config: Path | None) -> tuple[PreTrainedModel, Any | None]:
    if config is None or not config.is_file():
        raise FinetuneError(f"{config} does not exist: --from-config names a config.json of a BART or mBART")
    try:
        model = AutoModelForSeq2SeqLM.from_config(AutoConfig.from_pretrained(config))
    except (OSError, ValueError) as error:
        raise FinetuneError(f"{config}: no model can be made of it: {error}") from error
    has_tokenizer = (config.parent / "tokenizer_config.json").is_file()
    return model, AutoTokenizer.from_pretrained(config.parent) if has_tokenizer else None


def _set_dropout(model: PreTrainedModel, name: str, value: float) -> None:
    setattr(model.config, name, value)
    for module in model.modules():
        if isinstance(getattr(module, name, None), float):
            setattr(module, name, value)
