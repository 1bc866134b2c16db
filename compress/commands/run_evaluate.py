"""Runs `dqbart evaluate`: loads either kind of model, scores it, writes JSON, prints a table."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from compress.commands.evaluate import Evaluate
from compress.data.dataset import Languages, load_examples
from compress.device import pick_device
from compress.expected_errors import EXPECTED_ERRORS
from compress.model_card import write_model_card
from compress.scoring.asked import spoken_languages
from compress.scoring.evaluation import Evaluation, data_digest, evaluate
from compress.scoring.evaluation_file import direction, keep_evaluation
from compress.scoring.scored_model import load_scored
from compress.training.progress import progress_bar
from quant.evaluation_file import EVALUATION_FILE, read_evaluations


def run_evaluate(settings: Evaluate) -> int:
    """Returns the exit code: 0 done, 1 failed."""
    console = Console()
    name = settings.name or Path(settings.model).resolve().name
    kept_in = [Path(settings.model) / EVALUATION_FILE] if settings.keep else []
    kept_in += [settings.output] if settings.output else []
    try:
        for output in kept_in:
            read_evaluations(output)  # what cannot be added to is an error before the work, not after it
        evaluation = _evaluate(settings, console)
        record = {"model": name, "data": Path(settings.data).name, "command": _command(settings), **evaluation.record}
        # Shown before it is written: a full disk or a read-only folder does not cost the figures.
        console.print(_table(record))
        if evaluation.warning:
            console.print(evaluation.warning, highlight=False, soft_wrap=True, markup=False)
        for output in kept_in:
            keep_evaluation(output, record)
        if settings.keep:
            write_model_card(Path(settings.model))
        if settings.hypotheses:
            settings.hypotheses.write_text("".join(f"{' '.join(text.split())}\n" for text in evaluation.hypotheses))
    except EXPECTED_ERRORS as error:
        print(f"dqbart evaluate: error: {error}", file=sys.stderr)
        return 1
    if kept_in:
        console.print(f"kept in {' and '.join(map(str, kept_in))}", highlight=False, soft_wrap=True)
    return 0


def _evaluate(settings: Evaluate, console: Console) -> Evaluation:
    device = pick_device(settings.device)
    template, longest = settings.source_template, settings.max_source_tokens
    model, text_format = load_scored(
        settings.model,
        settings.task,
        settings.languages(),
        template,
        longest,
        settings.allow_pickle,
        settings.passage_separator,
        settings.max_target_tokens,
    )
    languages = Languages(*spoken_languages(settings.model, text_format.card, settings.languages()))
    task = text_format.card.task
    tell = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    examples = load_examples(settings.data, "test", task, settings.fields(), languages, settings.limit, tell)
    with progress_bar(console) as bar:
        bar_task = bar.add_task("generating", total=len(examples))
        evaluation = evaluate(
            model.to(device),
            text_format,
            examples,
            settings.decoding(),
            settings.batch_tokens,
            settings.max_target_tokens,
            lambda finished: bar.advance(bar_task, finished),
        )
    evaluation.record["data_digest"] = data_digest(examples)
    return evaluation


def _command(settings: Evaluate) -> str:
    """The command that repeats the figure: every flag that is not at its default; files by their names only."""
    flags = []
    for name, value in settings.model_dump(
        exclude_defaults=True, exclude={"model", "keep", "output", "hypotheses", "name"}
    ).items():
        shown = Path(value).name if name == "data" and Path(value).is_file() else value
        flags.append(f"--{name.replace('_', '-')} {shlex.quote(str(shown))}")
    return f"dqbart evaluate {shlex.quote(Path(settings.model).resolve().name)} {' '.join(flags)}"


def _table(record: dict[str, object]) -> Table:
    """A row a figure: side by side, the names of four ROUGE scores would not fit a terminal."""
    scores = record["scores"]
    assert isinstance(scores, dict)
    shown = {name: str(record[name]) for name in ("model", "data")}
    shown |= {"direction": direction(record), "examples": str(record["examples"])}
    shown |= {"truncated": str(record["truncated"])} if record["truncated"] else {}
    shown |= {name: f"{value:.2f}" for name, value in scores.items()}
    shown |= {"seconds": str(record["seconds"])}
    table = Table(show_header=False)
    for name, value in shown.items():
        if value:
            table.add_row(name, value)
    return table
