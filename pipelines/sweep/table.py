"""The table of a sweep, in Markdown and on the terminal from the same cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipelines.sweep.results import Row

TABLE_FILE = "table.md"


def cells(teacher: Row, rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings, and a line for each model, the teacher's first. Columns that would be empty are left out."""
    every = [teacher, *rows]
    directions = list(dict.fromkeys(each for row in every for each in row.scores))
    metrics = list(dict.fromkeys(name for row in every for scores in row.scores.values() for name in scores))
    batches = list(dict.fromkeys(batch for row in every for batch in row.tokens_per_second))
    headings = ["model", "layers", "bits", "settings of its own", "MB", "smaller"]
    headings += [f"{each} {metric}".strip() for each in directions for metric in metrics]
    headings += [
        "of the teacher's",
        *(f"tokens/s, batch {batch}" for batch in batches),
        "steps",
        "minutes",
        "CPU minutes",
        "failed",
    ]
    lines = []
    for row in every:
        line = [row.name, row.layers, row.bits, ", ".join(f"{key} {value}" for key, value in row.own.items())]
        line += [_figure(row.bytes and row.bytes / 1e6, ".2f"), _figure(None if row is teacher else row.ratio, ".1f", "x")]
        line += [_figure(row.scores.get(each, {}).get(metric), ".1f") for each in directions for metric in metrics]
        line += [_figure(row.share, ".1f", " %")]
        line += [_figure(row.tokens_per_second.get(batch), ",.0f") for batch in batches]
        line += [_figure(row.steps, ",d"), _figure(row.minutes, ".1f"), _figure(row.cpu_minutes, ".1f"), row.error or ""]
        lines.append(line)
    filled = [index for index in range(len(headings)) if any(line[index] for line in lines)]
    return [headings[index] for index in filled], [[line[index] for index in filled] for line in lines]


def markdown(teacher: Row, rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """The table with a line below it that says how its figures came about."""
    headings, lines = cells(teacher, rows)
    written = [
        _line(headings),
        _line(["---" if heading in ("model", "settings of its own", "failed") else "---:" for heading in headings]),
        *(_line(line) for line in lines),
    ]
    return "\n".join([*written, "", note(teacher, rows, about), ""])


def note(teacher: Row, rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """How the figures came about, in one paragraph."""
    speed = about["speed"]
    ran = list(dict.fromkeys(row.timed_by for row in rows if row.timed_by))
    plain = f", {teacher.name} as {teacher.timed_by}" if teacher.timed_by else ""
    return (
        f"Scores on {about['test']}; the teacher's share is of {about['metric']}, mean over directions. Tokens a second: "
        f"{speed['new_tokens']} tokens generated greedily for sources of {speed['source_tokens']}, encoding included, "
        f"{speed['threads']} CPU thread{'s' if speed['threads'] > 1 else ''}, medians of {speed['rounds']} turns"
        f"{'; runs on ' + ' and '.join(ran) if ran else ''}{plain}."
    )


def terminal_table(teacher: Row, rows: Sequence[Row], metric: str) -> Table:
    """The figures that a terminal has room for."""
    table = Table("model")
    batches = list(dict.fromkeys(batch for row in (teacher, *rows) for batch in row.tokens_per_second))
    for heading in ("MB", "smaller", metric, "of teacher", *(f"tokens/s, {batch}" for batch in batches)):
        table.add_column(heading, justify="right")
    for row in (teacher, *rows):
        figures = [_figure(row.bytes and row.bytes / 1e6, ".2f"), _figure(row.ratio, ".1f", "x"), _figure(row.score, ".1f")]
        figures += [_figure(row.share, ".1f", " %")]
        figures += [_figure(row.tokens_per_second.get(batch), ",.0f") for batch in batches]
        table.add_row(escape(row.name), *figures)
    return table


def _figure(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"


def _line(entries: Sequence[str]) -> str:
    escaped = (" ".join(entry.split()).replace("|", "\\|") for entry in entries)
    return f"| {' | '.join(escaped)} |"
