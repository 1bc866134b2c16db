"""The promise that figures rest on, on a sample: the engine's ids are those that `generate` gives to the same student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.data.text_format import Example
from compress.errors import CompressError
from compress.model.packed_student import load_student
from compress.scoring.decoder import Progress
from compress.scoring.decoding import DecodingSettings, decode_alike
from pipelines.scoring.by_engine import EngineDecoder
from pipelines.scoring.by_generate import GenerateDecoder
from pipelines.scoring.reading import Reader
from quant.card import passages


class CheckError(CompressError):
    """A model that cannot be checked so."""


@dataclass(frozen=True)
class Check:
    """How many of the examples have equal ids."""

    examples: int
    equal: int
    first: str | None
    """The first that differs, for people; None where none does."""

    def __str__(self) -> str:
        counted = f"generate gives the engine's ids for {self.equal:,} of {self.examples:,} examples"
        return counted if self.first is None else f"{counted}; the first that differs is {self.first}"


def generate_decoder(
    folder: Path, settings: DecodingSettings, search: Mapping[str, Any] | None, batch_tokens: int
) -> GenerateDecoder:
    """The artifact in a folder as a stock model with quantized modules, on the CPU. Raises CheckError for one that draws."""
    model, text_format, artifact = load_student(folder)
    decode_alike(model, search or {})
    effective = settings.over(model)
    if effective.do_sample:
        raise CheckError("--check-generate compares searches, and this model draws: do_sample is on")
    reader = Reader.of(text_format, artifact.architecture.vocab_size)
    return GenerateDecoder(model, reader, effective, settings.resolved(model, text_format), batch_tokens)


def check(
    engine: EngineDecoder, plain: GenerateDecoder, examples: Sequence[Example], count: int, progress: Progress
) -> Check:
    """Compare `count` of the examples, spread over all of them."""
    places = sample(len(examples), count)
    chosen = [examples[place] for place in places]
    pairs = list(zip(engine.token_ids(chosen), plain.token_ids(chosen, progress), strict=True))
    differing = [index for index, (by_engine, by_generate) in enumerate(pairs) if by_engine != by_generate]
    first = None
    if differing:
        index = differing[0]
        by_engine, by_generate = pairs[index]
        first = (
            f"example {places[index] + 1:,}, {_shown(chosen[index])!r}: the engine gives {by_engine}, generate {by_generate}"
        )
    return Check(len(chosen), len(chosen) - len(differing), first)


def sample(examples: int, count: int) -> list[int]:
    """Places of so many examples, or of all where there are fewer, as far from each other as can be."""
    count = min(count, examples)
    return [place * examples // count for place in range(count)]


def _shown(example: Example) -> str:
    text = " ".join(part for field in example.texts.values() for part in passages(field))
    return text if len(text) <= 60 else text[:60] + "…"
