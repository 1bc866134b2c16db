"""Runs `dqbart inspect`: what an artifact is, read from the artifact itself."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from compress.commands.inspect import Inspect
from compress.errors import EXPECTED_ERRORS
from compress.model_card import arrows
from compress.scoring.evaluation_file import EVALUATION_FILE, direction, read_evaluations
from quant.artifact import Artifact, read_artifact, sizes
from quant.layout import footprint


def run_inspect(settings: Inspect) -> int:
    """Returns the exit code: 0 shown, 1 no readable artifact."""
    try:
        artifact = read_artifact(settings.model)
        records = read_evaluations(settings.model / EVALUATION_FILE)
    except EXPECTED_ERRORS as error:
        print(f"dqbart inspect: error: {error}", file=sys.stderr)
        return 1
    console = Console()
    console.print(_summary(artifact))
    console.print(_parts(artifact))
    if records:
        table = Table("model", "data", "direction", "examples", "scores", title="Evaluation", title_justify="left")
        for record in records:
            scores = ", ".join(f"{name} {value:.1f}" for name, value in record["scores"].items())
            table.add_row(record["model"], record["data"], direction(record), str(record["examples"]), scores)
        console.print(table)
    else:
        console.print("no evaluation yet: dqbart evaluate MODEL --data FILE")
    return 0


def _summary(artifact: Artifact) -> Table:
    card, architecture, size = artifact.card, artifact.architecture, sizes(artifact)
    table = Table(title=str(artifact.path), title_justify="left", show_header=False)
    rows = {
        "task": card.task,
        "directions": arrows(card),
        "architecture": f"{architecture.model_type}, width {architecture.d_model}, vocabulary {architecture.vocab_size:,}",
        "layers": f"{architecture.layers} (teacher {card.teacher}: {card.teacher_layers})",
        "scheme": f"{artifact.scheme} (bits of weights-embeddings-activations)",
        "weights file": f"{size.packed / 1e6:.2f} MB",
        "ratio": f"{size.ratio:.1f}x smaller than the teacher's {size.teacher / 1e6:.1f} MB in float32",
        "same layers": f"{size.float32 / size.packed:.1f}x smaller than {size.float32 / 1e6:.1f} MB in float32",
        "longest source": f"{card.max_source_tokens} tokens",
        "teacher weights": artifact.source_digest,
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table


def _parts(artifact: Artifact) -> Table:
    table = Table("part", "bytes", "share", title="Size by part", title_justify="left")
    sizes_by_part = footprint(artifact.architecture, artifact.scheme)
    total = sum(sizes_by_part.values())
    for part, count in sizes_by_part.items():
        table.add_row(part, f"{count:,}", f"{count / total:.1%}")
    header = sizes(artifact).packed - total
    table.add_row("header", f"{header:,}", "")
    return table
