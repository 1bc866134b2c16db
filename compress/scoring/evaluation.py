"""Score a teacher or a packed artifact on a data set, both decoded by the same code with the same settings."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from compress.data.text_format import Example, TextFormat
from compress.scoring.decoding import DecodingSettings, generate
from compress.scoring.metrics import Scores, score, zero_warning


@dataclass(frozen=True)
class Evaluation:
    """Scores with everything needed to repeat them."""

    scores: Scores
    hypotheses: list[str]
    record: dict[str, Any]
    warning: str | None = None
    """What makes the scores doubtful, for the user."""


def evaluate(
    model: PreTrainedModel,
    text_format: TextFormat,
    examples: Sequence[Example],
    decoding: DecodingSettings,
    batch_tokens: int,
    max_target_tokens: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Generate for every example and score against its references. Sources past the model's limit are cut and counted."""
    encoded = text_format.encode(examples, max_target_tokens)
    started = time.perf_counter()
    hypotheses = generate(model, text_format, examples, encoded, decoding, batch_tokens, progress)
    seconds = time.perf_counter() - started
    references = [example.references for example in examples]
    languages = [example.target_language for example in examples]
    scores = score(text_format.card.task, hypotheses, references, languages)
    record = {
        "examples": len(examples),
        "truncated": sum(example.truncated for example in encoded),
        "source_language": examples[0].source_language,
        "target_language": examples[0].target_language,
        "scores": {name: round(value, 2) for name, value in scores.values.items()},
        "signatures": scores.signatures,
        "decoding": decoding.over(model).in_effect(),
        "seconds": round(seconds, 1),
    }
    if (most := max(map(len, references))) > 1:
        record["references"] = most
    return Evaluation(scores, hypotheses, record, zero_warning(scores, hypotheses))


def data_digest(examples: Sequence[Example]) -> str:
    """sha256 over the texts, so that a figure names the data that it was measured on."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([dict(example.texts), *example.references]).encode())
    return f"sha256:{digest.hexdigest()}"
