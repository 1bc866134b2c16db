"""Runs `dqbart inspect`: what an artifact is, read from the artifact itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from compress.commands.inspect import Inspect
from compress.expected_errors import EXPECTED_ERRORS
from compress.manifest import read_manifest, summary
from compress.model_card import arrows
from compress.scoring.evaluation_file import direction
from quant.artifact import Artifact, read_artifact, sizes
from quant.evaluation_file import EVALUATION_FILE, read_evaluations
from quant.generation import GenerationConfigError, GenerationSettings
from quant.layout import blocks, footprint, heads_of
from quant.structure import UNIFORM


def run_inspect(settings: Inspect) -> int:
    """Returns the exit code: 0 shown, 1 no readable artifact."""
    try:
        artifact = read_artifact(settings.model)
        records = read_evaluations(settings.model / EVALUATION_FILE)
        manifest = read_manifest(settings.model)
        origin = summary(manifest) if manifest else {}
    except EXPECTED_ERRORS as error:
        print(f"dqbart inspect: error: {error}", file=sys.stderr)
        return 1
    console = Console()
    console.print(_summary(artifact))
    console.print(_parts(artifact))
    if origin:
        table = Table(title="Training", title_justify="left", show_header=False)
        for name, line in origin.items():
            table.add_row(name, line)
        console.print(table)
    if records:
        table = Table("model", "data", "direction", "examples", "scores", title="Evaluation", title_justify="left")
        for record in records:
            scores = ", ".join(f"{name} {value:.1f}" for name, value in record["scores"].items())
            table.add_row(record["model"], record["data"], direction(record), str(record["examples"]), scores)
        console.print(table)
    else:
        console.print("no evaluation yet: dqbart evaluate MODEL --data FILE --keep")
    return 0


def _decoding(artifact: Artifact) -> str:
    """The model's own settings, of validation and service alike."""
    try:
        settings = GenerationSettings.of(artifact)
    except GenerationConfigError as error:
        return f"cannot be served: {error}"
    lengths = {"min_new_tokens": settings.min_new_tokens, "max_new_tokens": settings.max_new_tokens}
    search = {name: value for name, value in settings.in_effect().items() if name not in ("min_length", "max_length")}
    return ", ".join(f"{name} {value}" for name, value in {**search, **lengths}.items() if value)


def _summary(artifact: Artifact) -> Table:
    card, architecture, size = artifact.card, artifact.architecture, sizes(artifact)
    table = Table(title=str(artifact.path), title_justify="left", show_header=False)
    rows = {
        "task": card.task,
        "directions": arrows(card),
        "architecture": f"{architecture.model_type}, width {architecture.d_model}, vocabulary {architecture.vocab_size:,}",
        "layers": f"{architecture.layers} (teacher {card.teacher}: {card.teacher_layers})",
        "scheme": f"{artifact.scheme} (bits of weights-embeddings-activations)",
        "other bits": _listed(artifact, artifact.structure.block_bits),
        "pruned heads": _heads_left(artifact),
        "weights file": f"{size.packed / 1e6:.2f} MB",
        "ratio": f"{size.ratio:.1f}x smaller than the teacher's {size.teacher / 1e6:.1f} MB in float32",
        "same tensors": f"{size.float32 / size.packed:.1f}x smaller than {size.float32 / 1e6:.1f} MB in float32",
        "longest source": f"{card.max_source_tokens} tokens",
        "outputs begin with": " ".join(filter(None, (card.decoder_start, card.forced_bos))),
        "decoding": _decoding(artifact),
        "normalization": ", ".join(card.normalization) or "the tokenizer's own",
        "teacher weights": artifact.source_digest,
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table


def _listed(artifact: Artifact, entries: Mapping[str, int]) -> str:
    """Blocks by their value: `8: encoder.layers.0.self_attn, decoder.layers.0.feed_forward`."""
    names = [block for block in blocks(artifact.architecture) if block in entries]
    values = sorted(set(entries.values()))
    return "\n".join(f"{value}: {', '.join(block for block in names if entries[block] == value)}" for value in values)


def _heads_left(artifact: Artifact) -> str:
    """How many heads are gone, and how many each pruned attention has left."""
    if not artifact.structure.heads:
        return ""
    kinds = (("encoder", "self_attn"), ("decoder", "self_attn"), ("decoder", "encoder_attn"))
    before, left = (
        sum(sum(heads_of(artifact.architecture, structure, *kind)) for kind in kinds)
        for structure in (UNIFORM, artifact.structure)
    )
    return f"{before - left} of {before} removed, left in\n{_listed(artifact, artifact.structure.heads)}"


def _parts(artifact: Artifact) -> Table:
    table = Table("part", "bytes", "share", title="Size by part", title_justify="left")
    sizes_by_part = footprint(artifact.architecture, artifact.scheme, artifact.structure)
    total = sum(sizes_by_part.values())
    for part, count in sizes_by_part.items():
        table.add_row(part, f"{count:,}", f"{count / total:.1%}")
    header = sizes(artifact).packed - total
    table.add_row("header", f"{header:,}", "")
    return table
