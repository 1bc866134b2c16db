"""The model card: README.md of an artifact, written from what the artifact holds and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress.manifest import read_manifest, summary
from compress.scoring.evaluation_file import direction
from quant.artifact import Artifact, read_artifact, sizes
from quant.card import Card
from quant.evaluation_file import EVALUATION_FILE, read_evaluations
from quant.layout import FEED_FORWARD, blocks

CARD_FILE = "README.md"
NOTES_FILE = "NOTES.md"


def write_model_card(folder: Path) -> None:
    """Write or renew README.md. What people add about data and licence goes into NOTES.md, which is taken over whole."""
    artifact = read_artifact(folder)
    size = sizes(artifact)
    card = artifact.card
    manifest = read_manifest(folder)
    notes = (folder / NOTES_FILE).read_text().strip() if (folder / NOTES_FILE).is_file() else ""
    lines = [
        f"# {folder.resolve().name}",
        "",
        f"A {card.task} model of {artifact.architecture.layers} layers at {artifact.scheme} (bits of weights-embeddings-"
        f"activations){departures(artifact)}, distilled from {card.teacher} ({card.teacher_layers} layers) by "
        "`dqbart compress`.",
        "",
        "| | |",
        "| --- | --- |",
        f"| weights on disk | {size.packed / 1e6:.2f} MB |",
        f"| teacher in float32 | {size.teacher / 1e6:.1f} MB |",
        f"| ratio | **{size.ratio:.1f}x** |",
        f"| architecture | {artifact.architecture.model_type}, width {artifact.architecture.d_model} |",
        *([f"| directions | {arrows(card)} |"] if card.directions else []),
        f"| longest source | {card.max_source_tokens} tokens |",
        f"| teacher weights | `{artifact.source_digest}` |",
        *(f"| {name} | {line} |" for name, line in (summary(manifest) if manifest else {}).items()),
        "",
        *_evaluation_lines(read_evaluations(folder / EVALUATION_FILE)),
        *([notes, ""] if notes else []),
    ]
    (folder / CARD_FILE).write_text("\n".join(lines))


def departures(artifact: Artifact) -> str:
    """How it departs from layers and scheme: `, 9 of 48 heads removed, other bits in 5 of 21 blocks`; empty for most."""
    names, structure = blocks(artifact.architecture), artifact.structure
    attentions = [name for name in names if not name.endswith(FEED_FORWARD)]
    before, left = (
        sum(heads.get(name, getattr(artifact.architecture, f"{name.split('.')[0]}_attention_heads")) for name in attentions)
        for heads in ({}, structure.heads)
    )
    removed = f", {before - left} of {before} heads removed" if structure.heads else ""
    bits = f", other bits in {len(structure.block_bits)} of {len(names)} blocks" if structure.block_bits else ""
    return removed + bits


def arrows(card: Card) -> str:
    """The directions that a model translates: `de_DE → en_XX, en_XX → de_DE`."""
    return ", ".join(f"{source} → {target}" for source, target in card.language_pairs)


def _evaluation_lines(records: list[dict[str, Any]]) -> list[str]:
    if not records:
        return []
    names = list(dict.fromkeys(name for record in records for name in record["scores"]))
    lines = [
        "## Evaluation",
        "",
        f"| model | data | direction | {' | '.join(names)} | decoding | decoded by |",
        f"| --- | --- | --- | {' | '.join('---' for _ in names)} | --- | --- |",
    ]
    for record in records:
        scores = " | ".join(f"{record['scores'][name]:.1f}" if name in record["scores"] else "" for name in names)
        decoding = ", ".join(f"{key} {value}" for key, value in record["decoding"].items())
        by = f"{record['decoded_by']}; texts {record['read']}"
        data = f"{record['data']} ({record['examples']:,})"
        lines.append(f"| {record['model']} | {data} | {direction(record)} | {scores} | {decoding} | {by} |")
    commands = list(dict.fromkeys(record["command"] for record in records))
    signatures = dict.fromkeys(pair for record in records for pair in record["signatures"].items())
    signed = [f"{name}: `{text}`" for name, text in signatures]
    return [*lines, "", *signed, "", "```sh", *commands, "```", ""]
