"""Score what a model writes for a data set, with all that is needed to repeat the figures."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compress.data.text_format import Example
from compress.scoring.decoder import Decoder, Progress
from compress.scoring.metrics import Scores, score, zero_warning


@dataclass(frozen=True)
class Evaluation:
    """Scores with everything needed to repeat them."""

    scores: Scores
    hypotheses: list[str]
    record: dict[str, Any]
    warning: str | None = None
    """What makes the scores doubtful, for the user."""


def evaluate(decoder: Decoder, examples: Sequence[Example], progress: Progress = lambda _: None) -> Evaluation:
    """Decode every example and score the output against its references."""
    started = time.perf_counter()
    decoded = decoder.decode(examples, progress)
    seconds = time.perf_counter() - started
    references = [example.references for example in examples]
    languages = [example.target_language for example in examples]
    scores = score(decoder.task, decoded.outputs, references, languages)
    record = {
        "examples": len(examples),
        "truncated": decoded.truncated,
        "source_language": examples[0].source_language,
        "target_language": examples[0].target_language,
        "scores": {name: round(value, 2) for name, value in scores.values.items()},
        "signatures": scores.signatures,
        "decoding": dict(decoder.settings),
        "decoded_by": decoder.decoded_by,
        "read": decoder.reading,
        "seconds": round(seconds, 1),
    }
    if decoded.refused:
        record["refused"] = decoded.refused
    if (most := max(map(len, references))) > 1:
        record["references"] = most
    return Evaluation(scores, decoded.outputs, record, zero_warning(scores, decoded.outputs))


def data_digest(examples: Sequence[Example]) -> str:
    """sha256 over the texts, so that a figure names the data that it was measured on."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([dict(example.texts), *example.references]).encode())
    return f"sha256:{digest.hexdigest()}"
