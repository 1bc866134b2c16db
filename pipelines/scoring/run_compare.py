"""Runs `dqbart compare`: both models decoded by the same settings, of texts that are read alike, then what changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compress.data.dataset import Languages, load_examples
from compress.device import pick_device
from compress.expected_errors import EXPECTED_ERRORS
from compress.model.told import Told, ToldError, spoken_languages
from compress.scoring.comparison import Change, Comparison, compare
from compress.scoring.evaluation import Evaluation, data_digest, evaluate
from compress.scoring.significance import COVERAGE, Difference
from compress.training.progress import advancing
from pipelines.scoring.check_generate import Check
from pipelines.scoring.compare import Compare
from pipelines.scoring.scored_model import ScoredModel, scored_model
from quant.artifact import is_artifact, open_artifact
from quant.card import passages


def run_compare(settings: Compare) -> int:
    """Returns the exit code: 0 done, 1 failed, or a check did."""
    console = Console()
    try:
        comparison, evaluations, checks, record = _compare(settings, console)
        console.print(_scores(comparison, record, settings.samples))
        for name, evaluation in evaluations.items():
            how = f"decoded by {evaluation.record['decoded_by']}, texts read {evaluation.record['read']}"
            for line in (how, evaluation.warning, checks.get(name)):
                if line is not None:
                    console.print(f"{name}: {line}", highlight=False, soft_wrap=True, markup=False)
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
    return int(any(check.first is not None for check in checks.values()))


def _compare(
    settings: Compare, console: Console
) -> tuple[Comparison, dict[str, Evaluation], dict[str, Check], dict[str, Any]]:
    device = pick_device(settings.device)
    tell = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    teacher, student = _load(settings, tell)
    task = student.card.task
    languages = Languages(*spoken_languages(settings.student, student.card, settings.languages()))
    examples = load_examples(settings.data, "test", task, settings.fields(), languages, settings.limit, tell)
    decoding, search, count = settings.decoding(), student.search, settings.check_generate
    evaluations: dict[str, Evaluation] = {}
    checks: dict[str, Check] = {}
    for name, model in (("teacher", teacher), ("student", student)):
        with model.decoder(device, decoding, search) as decoder:
            with advancing(console, name, len(examples)) as advance:
                evaluations[name] = evaluate(decoder, examples, advance)
            if count:
                with advancing(console, f"checking {name}", min(count, len(examples))) as advance:
                    check = model.check(decoder, examples, count, decoding, search, advance)
                checks |= {} if check is None else {name: check}
    before, after = (evaluations[name].hypotheses for name in ("teacher", "student"))
    comparison = compare(task, examples, before, after, settings.samples)
    return comparison, evaluations, checks, _record(settings, comparison, evaluations, data_digest(examples))


def _load(settings: Compare, tell: Callable[[str], None]) -> list[ScoredModel]:
    """Both models. What a teacher is not told, it takes from the artifact beside it."""
    names = (settings.teacher, settings.student)
    cards = [open_artifact(Path(name)).card for name in reversed(names) if is_artifact(Path(name))]
    told = settings.told()
    if cards:
        told = told.completed(cards[0])
    elif told.task is None:
        raise ToldError(f"neither {names[0]} nor {names[1]} is a packed artifact, so --task is needed")
    packed = Told(told.task, told.languages)
    return [scored_model(name, packed if is_artifact(Path(name)) else told, tell, settings.batch_tokens) for name in names]


def _record(settings: Compare, comparison: Comparison, evaluations: dict[str, Evaluation], digest: str) -> dict[str, Any]:
    student = evaluations["student"]
    kept = ("examples", "source_language", "target_language", "signatures", "decoding", "references")
    return {
        "teacher": Path(settings.teacher).resolve().name,
        "student": Path(settings.student).resolve().name,
        "data": Path(settings.data).name,
        "data_digest": digest,
        **{name: student.record[name] for name in kept if name in student.record},
        **{name: {model: each.record[name] for model, each in evaluations.items()} for name in ("decoded_by", "read")},
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
