"""What a translator makes of texts of several sentences: read whole, or sentence by sentence.

    python -m benchmarks.joined_sentences models/mbart-de-en-2-4-8 test.jsonl de_DE en_XX

joins the sentences of a file (JSON lines of `source` and `target`) by one, two and four, has the service translate the texts
with each `truncation`, and prints BLEU, chrF and how long the outputs are beside the references. `truncation: chunk` is what
holds for translations where a request says nothing, because of these figures.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sacrebleu
from rich.console import Console
from rich.table import Table

from serving.engine.async_engine import AsyncEngine
from serving.engine.engine import load_engine
from serving.engine.loop import EngineLoop
from serving.engine.settings import EngineSettings
from serving.observability.metrics import Metrics
from serving.service.models import Models, ServedModel, check_model, default_models
from serving.service.requests import TranslateRequest, Truncation
from serving.service.service import Limits, Service

PER_REQUEST = 32
LIMITS = Limits(PER_REQUEST, max_source_characters=100_000, max_windows=512, max_rows=64, request_timeout_seconds=3600)
JOINED = (1, 2, 4)
TRUNCATIONS: tuple[Truncation, ...] = ("error", "chunk")
NAMES = {"error": "whole", "chunk": "by sentences"}


@dataclass(frozen=True)
class Scores:
    """Of one way to read texts of so many sentences."""

    joined: int
    truncation: Truncation
    bleu: float
    chrf: float
    length: float
    """Characters of the outputs for one of the references."""


def joined(texts: Sequence[str], count: int) -> list[str]:
    """Texts of `count` sentences each; what is left over makes a shorter one."""
    return [" ".join(texts[start : start + count]) for start in range(0, len(texts), count)]


async def measure(
    artifact: Path, pairs: Sequence[tuple[str, str]], source_language: str, target_language: str, counts: Sequence[int]
) -> list[Scores]:
    """Scores of every way over the sentences and their translations. Raises ServiceError."""
    checked = check_model("model", artifact, LIMITS.max_rows)
    engine = AsyncEngine(EngineLoop().add(load_engine(artifact, EngineSettings())))
    try:
        models = Models([ServedModel(checked, checked.codec(), engine)], default_models([checked], {}))
        service = Service(models, LIMITS, Metrics())
        found = []
        for count in counts:
            sources, references = (joined(side, count) for side in zip(*pairs, strict=True))
            for truncation in TRUNCATIONS:
                outputs: list[str] = []
                for start in range(0, len(sources), PER_REQUEST):
                    request = TranslateRequest(
                        text=sources[start : start + PER_REQUEST],
                        source_language=source_language,
                        target_language=target_language,
                        truncation=truncation,
                    )
                    outputs += [result.text for result in (await service.generate(request, "http")).results]
                bleu = sacrebleu.corpus_bleu(outputs, [references]).score
                chrf = sacrebleu.corpus_chrf(outputs, [references]).score
                length = sum(map(len, outputs)) / sum(map(len, references))
                found.append(Scores(count, truncation, bleu, chrf, length))
        return found
    finally:
        engine.close()


def main(artifact: str, data: str, source_language: str, target_language: str, limit: str = "2000") -> None:
    """Measure and print. The file's `source` is in the first language."""
    lines = Path(data).read_text(encoding="utf-8").splitlines()[: int(limit)]
    pairs = [(line["source"], line["target"]) for line in map(json.loads, lines)]
    table = Table(title=f"{len(pairs):,} sentences, {source_language} to {target_language}", title_justify="left")
    for name in ("sentences a text", "read", "BLEU", "chrF", "length"):
        table.add_column(name, justify="left" if name == "read" else "right")
    for each in asyncio.run(measure(Path(artifact), pairs, source_language, target_language, JOINED)):
        table.add_row(str(each.joined), NAMES[each.truncation], f"{each.bleu:.1f}", f"{each.chrf:.1f}", f"{each.length:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
