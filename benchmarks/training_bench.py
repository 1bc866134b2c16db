"""Runs `dqbart bench training`: a step of the training loop beside the naive one, on the same batches, in turns.

The naive loop is what one writes first: teacher and student in float32 with all their outputs, whichever the losses use, and
memory as the C library manages it. Both train the same student with the same losses on the same batches. Each is a process
of its own, as the C library's settings are a process's; while one is timed, the other waits on a pipe.

A round is one epoch: batches are cut anew in each, but of equal lengths, so that rounds are alike.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from benchmarks.alternation import alternate
from benchmarks.commands import BenchTraining

Side = Literal["dqbart", "naive"]
_SIDES: tuple[Side, ...] = ("dqbart", "naive")


class SideFailed(RuntimeError):
    """A process that could not train."""


def run_bench_training(settings: BenchTraining) -> int:
    """Returns the exit code: 0 measured, 1 not."""
    context = multiprocessing.get_context("spawn")
    ends = {side: context.Pipe() for side in _SIDES}
    processes = [context.Process(target=_serve, args=(ends[side][1], side, settings), daemon=True) for side in _SIDES]
    try:
        for process in processes:
            process.start()
        for _, theirs in ends.values():
            theirs.close()
        tokens = {side: int(_answer(ends[side][0], side)) for side in _SIDES}
        runs = {side: (lambda side=side: _round(ends[side][0], side)) for side in _SIDES}
        seconds = alternate(runs, settings.rounds)
    except SideFailed as error:
        print(f"dqbart bench training: error: {error}", file=sys.stderr)
        return 1
    finally:
        for ours, _ in ends.values():
            ours.close()
        for process in processes:
            process.join()
    _show(settings, tokens["dqbart"], seconds)
    return 0


def _round(connection: Connection, side: Side) -> float:
    connection.send("next")
    return _answer(connection, side)


def _answer(connection: Connection, side: Side) -> float:
    try:
        answer = connection.recv()
    except EOFError:
        raise SideFailed(f"the process of {side} ended without an answer") from None
    if isinstance(answer, str):
        raise SideFailed(answer)
    return float(answer)


def _show(settings: BenchTraining, tokens: int, seconds: dict[Side, float]) -> None:
    ratio = seconds["naive"] / seconds["dqbart"]
    table = Table("", title=f"Training of {settings.layers} at {settings.bits}", title_justify="left")
    table.add_column("seconds a round", justify="right")
    table.add_column("tokens a second", justify="right")
    for side in _SIDES:
        table.add_row(side, f"{seconds[side]:.2f}", f"{tokens / seconds[side]:,.0f}")
    console = Console()
    console.print(table)
    console.print(f"{ratio:.2f}x the naive loop, {tokens:,} tokens a round, medians of {settings.rounds} rounds")
    if settings.json_file is not None:
        figures = {"tokens": tokens, "seconds": seconds, "ratio": ratio}
        settings.json_file.write_text(json.dumps(figures, indent=2) + "\n")


def _serve(connection: Connection, side: Side, settings: BenchTraining) -> None:
    """In the process of a side: load, say how many tokens a round has, then a round for each question."""
    from compress.expected_errors import EXPECTED_ERRORS

    try:
        run = _prepare(side, settings, connection.send)
        connection.recv()

        def told(seconds: float) -> None:
            connection.send(seconds)
            connection.recv()

        run(told)
    except EOFError:
        return
    except EXPECTED_ERRORS as error:
        connection.send(str(error))


def _prepare(side: Side, settings: BenchTraining, tell: Callable[[int], None]) -> Callable[[Callable[[float], Any]], None]:
    """What trains for all rounds and calls its argument with the seconds of each; the next begins when that returns."""
    import torch

    from compress.data.dataset import Fields, Languages, load_examples
    from compress.model.quantized_modules import quantize_modules
    from compress.model.student import build_student, spaced_layers
    from compress.model.teacher import load_teacher
    from compress.model.told import Told
    from compress.training.allocation import keep_freed_memory
    from compress.training.loop import StepReport, Trainer, TrainingSettings
    from compress.training.losses import LayerMap, LossWeights
    from compress.training.precision import bf16_by_device, faster_at_bf16
    from quant.scheme import Layers, Scheme

    torch.set_num_threads(settings.threads)
    pair = settings.source_language, settings.target_language
    told = Told(settings.task, pair if any(pair) else ())
    teacher = load_teacher(settings.teacher, told)
    card = teacher.text_format.card
    languages = Languages.told(told.completed(card))
    examples = load_examples(settings.train, "train", card.task, Fields(), languages, settings.examples)
    encoded = teacher.text_format.encode(examples, min(128, teacher.architecture.max_position_embeddings))
    layers = Layers.parse(settings.layers)
    student = build_student(teacher.model, layers, "last")
    quantize_modules(student, Scheme.parse(settings.bits))
    kept = LayerMap(
        spaced_layers(teacher.architecture.encoder_layers, layers.encoder, "last"),
        spaced_layers(teacher.architecture.decoder_layers, layers.decoder, "last"),
    )
    rounds = settings.rounds + 1
    training = TrainingSettings(
        epochs=rounds,
        max_steps=None,
        learning_rate=3e-5,
        schedule="linear",
        warmup=0.0,
        weight_decay=0.0,
        batch_tokens=settings.batch_tokens,
        accumulate=1,
        clip_norm=1.0,
        bf16="auto",
        seed=0,
        validate_every=None,
        losses=LossWeights(attention=settings.attention_weight, hidden=settings.hidden_weight),
    )
    tell(sum(len(example.source_ids) + len(example.label_ids) for example in encoded))
    if side == "naive":
        from benchmarks.naive_training import train

        return lambda told: train(student, teacher.model, kept, encoded, training, rounds, told)
    keep_freed_memory()
    trainer = Trainer(student, teacher.model, kept, encoded, training)
    known = bf16_by_device(training.bf16, student.device)
    trainer.bf16 = faster_at_bf16(trainer, Console().print) if known is None else known

    def run(told: Callable[[float], Any]) -> None:
        def report(report: StepReport) -> None:
            told(report.seconds)

        trainer.train(lambda step: None, lambda: None, report, report_every=trainer.steps_per_epoch, save_every=sys.maxsize)

    return run
