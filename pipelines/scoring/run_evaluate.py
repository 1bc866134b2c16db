"""Runs `dqbart evaluate`: loads either kind of model, scores it, writes JSON, prints a table."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from compress.data.dataset import Languages, load_examples
from compress.device import pick_device
from compress.expected_errors import EXPECTED_ERRORS
from compress.model.told import spoken_languages
from compress.model_card import write_model_card
from compress.scoring.evaluation import Evaluation, data_digest, evaluate
from compress.scoring.evaluation_file import direction, keep_evaluation
from compress.training.progress import advancing
from pipelines.scoring.check_generate import Check
from pipelines.scoring.evaluate import Evaluate
from pipelines.scoring.scored_model import scored_model
from quant.evaluation_file import EVALUATION_FILE, read_evaluations


def run_evaluate(settings: Evaluate) -> int:
    """Returns the exit code: 0 done, 1 failed, or the check did; then nothing is kept."""
    console = Console()
    name = settings.name or Path(settings.model).resolve().name
    kept_in = [Path(settings.model) / EVALUATION_FILE] if settings.keep else []
    kept_in += [settings.output] if settings.output else []
    try:
        for output in kept_in:
            read_evaluations(output)  # what cannot be added to is an error before the work, not after it
        evaluation, check = _evaluate(settings, console)
        record = {"model": name, "data": Path(settings.data).name, "command": _command(settings), **evaluation.record}
        # Shown before it is written: a full disk or a read-only folder does not cost the figures.
        console.print(_table(record))
        if evaluation.warning:
            console.print(evaluation.warning, highlight=False, soft_wrap=True, markup=False)
        if check is not None:
            console.print(str(check), highlight=False, soft_wrap=True, markup=False)
            if check.first is not None:
                return 1
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


def _evaluate(settings: Evaluate, console: Console) -> tuple[Evaluation, Check | None]:
    device = pick_device(settings.device)
    tell = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    model = scored_model(settings.model, settings.told(), tell, settings.batch_tokens)
    languages = Languages(*spoken_languages(settings.model, model.card, settings.languages()))
    fields, task = settings.fields(), model.card.task
    examples = load_examples(settings.data, "test", task, fields, languages, settings.limit, tell)
    decoding, count, check = settings.decoding(), settings.check_generate, None
    with model.decoder(device, decoding) as decoder:
        with advancing(console, "decoding", len(examples)) as advance:
            evaluation = evaluate(decoder, examples, advance)
        if count:
            with advancing(console, "checking", min(count, len(examples))) as advance:
                check = model.check(decoder, examples, count, decoding, None, advance)
    evaluation.record["data_digest"] = data_digest(examples)
    return evaluation, check


def _command(settings: Evaluate) -> str:
    """The command that repeats the figure: every flag that is not at its default; files by their names only."""
    flags = []
    for name, value in settings.model_dump(
        exclude_defaults=True, exclude={"model", "keep", "output", "hypotheses", "name", "check_generate"}
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
    shown |= {name: str(record[name]) for name in ("truncated", "refused") if record.get(name)}
    shown |= {"decoded by": str(record["decoded_by"]), "texts read": str(record["read"])}
    shown |= {name: f"{value:.2f}" for name, value in scores.items()}
    shown |= {"seconds": str(record["seconds"])}
    table = Table(show_header=False)
    for name, value in shown.items():
        if value:
            table.add_row(name, value)
    return table
