"""Runs `dqbart compare`: both models decoded by the same code with the same settings, then what changed."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from transformers import PreTrainedModel

from compress.commands.compare import Compare
from compress.data.dataset import Languages, load_examples
from compress.data.text_format import TextFormat
from compress.device import pick_device
from compress.expected_errors import EXPECTED_ERRORS
from compress.scoring.asked import ScoredModelError, spoken_languages
from compress.scoring.comparison import Change, Comparison, compare
from compress.scoring.decoding import decode_alike
from compress.scoring.evaluation import Evaluation, data_digest, evaluate
from compress.scoring.scored_model import load_scored
from compress.scoring.significance import COVERAGE, Difference
from compress.training.progress import progress_bar
from quant.artifact import is_artifact, read_artifact
from quant.card import Card, passages


def run_compare(settings: Compare) -> int:
    """Returns the exit code: 0 done, 1 failed."""
    console = Console()
    try:
        comparison, evaluations, record = _compare(settings, console)
        console.print(_scores(comparison, record, settings.samples))
        for name, evaluation in evaluations.items():
            if evaluation.warning:
                console.print(f"{name}: {evaluation.warning}", highlight=False, soft_wrap=True, markup=False)
        console.print(
            f"{len(comparison.changes):,} of {record['examples']:,} outputs differ; "
            f"those whose {comparison.sentence_score} differs most:",
            highlight=False,
        )
        for change in comparison.changes[: settings.examples]:
            console.print(_shown(change, comparison.sentence_score))
        if settings.json_file:
            settings.json_file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except EXPECTED_ERRORS as error:
        print(f"dqbart compare: error: {error}", file=sys.stderr)
        return 1
    return 0


def _compare(settings: Compare, console: Console) -> tuple[Comparison, dict[str, Evaluation], dict[str, Any]]:
    device = pick_device(settings.device)
    (teacher, teacher_format), (student, student_format) = _load(settings)
    decode_alike(teacher, student)
    task = student_format.card.task
    languages = Languages(*spoken_languages(settings.student, student_format.card, settings.languages()))
    tell = partial(console.print, highlight=False, soft_wrap=True)
    examples = load_examples(settings.data, "test", task, settings.fields(), languages, settings.limit, tell)
    evaluations: dict[str, Evaluation] = {}
    with progress_bar(console) as bar:
        for name, model, text_format in (("teacher", teacher, teacher_format), ("student", student, student_format)):
            bar_task = bar.add_task(name, total=len(examples))
            evaluations[name] = evaluate(
                model.to(device),
                text_format,
                examples,
                settings.decoding(),
                settings.batch_tokens,
                settings.max_target_tokens,
                partial(bar.advance, bar_task),
            )
            model.to("cpu")
    before, after = (evaluations[name].hypotheses for name in ("teacher", "student"))
    comparison = compare(task, examples, before, after, settings.samples)
    return comparison, evaluations, _record(settings, comparison, evaluations["student"], data_digest(examples))


def _load(settings: Compare) -> list[tuple[PreTrainedModel, TextFormat]]:
    """Both models. What a teacher is not told, it takes from the artifact beside it."""
    names = (settings.teacher, settings.student)
    cards = [read_artifact(Path(name)).card for name in reversed(names) if is_artifact(Path(name))]
    if not cards and settings.task is None:
        raise ScoredModelError(f"neither {names[0]} nor {names[1]} is a packed artifact, so --task is needed")
    card: Card | None = cards[0] if cards else None
    task = settings.task or (card.task if card else None)
    template = settings.source_template or (card.source_template if card else None)
    separator = settings.passage_separator
    if separator is None and card:
        separator = card.passage_separator
    longest = settings.max_source_tokens or (card.max_source_tokens if card else None)
    languages = settings.languages()
    if not languages and card and len(card.language_pairs) == 1:
        (languages,) = card.language_pairs
    return [
        load_scored(name, task, languages, template, longest, settings.allow_pickle, separator, settings.max_target_tokens)
        for name in names
    ]


def _record(settings: Compare, comparison: Comparison, student: Evaluation, digest: str) -> dict[str, Any]:
    kept = ("examples", "source_language", "target_language", "signatures", "decoding", "references")
    return {
        "teacher": Path(settings.teacher).resolve().name,
        "student": Path(settings.student).resolve().name,
        "data": Path(settings.data).name,
        "data_digest": digest,
        **{name: student.record[name] for name in kept if name in student.record},
        "samples": settings.samples,
        "scores": {name: _score_record(each) for name, each in comparison.differences.items()},
        "sentence_score": comparison.sentence_score,
        "changed": [change.record() for change in comparison.changes],
    }


def _score_record(each: Difference) -> dict[str, Any]:
    return {
        "teacher": round(each.baseline, 2),
        "student": round(each.system, 2),
        "difference": round(each.difference, 2),
        "interval": [round(each.low, 2), round(each.high, 2)],
        "p_value": round(each.p_value, 4),
    }


def _scores(comparison: Comparison, record: dict[str, Any], samples: int) -> Table:
    title = f"{record['student']} beside {record['teacher']}: {record['examples']:,} examples, {samples:,} draws"
    table = Table("", "teacher", "student", "difference", f"{COVERAGE:.0%} interval", "p", title=title, title_justify="left")
    for name, each in comparison.differences.items():
        interval = f"{each.low:+.2f} to {each.high:+.2f}"
        figures = (f"{each.baseline:.2f}", f"{each.system:.2f}", f"{each.difference:+.2f}", interval, f"{each.p_value:.3f}")
        table.add_row(name, *figures)
    return table


def _shown(change: Change, sentence_score: str) -> Table:
    title = f"{sentence_score} {change.teacher_score:.1f} → {change.student_score:.1f} ({change.difference:+.1f})"
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    references = [("reference", text) for text in change.example.references]
    sources = [(name, text) for name, field in change.example.texts.items() for text in passages(field)]
    rows = [*sources, *references]
    for name, text in [*rows, ("teacher", change.teacher_output), ("student", change.student_output)]:
        table.add_row(name, escape(text))
    return table
