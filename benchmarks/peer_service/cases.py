"""What both services are asked, and of which models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.commands import shipped_model
from benchmarks.ctranslate2_model import write_ctranslate2
from benchmarks.random_artifact import BART_BASE, write_random_artifact
from benchmarks.service.senders import Target
from benchmarks.service.words import random_texts, write_words
from benchmarks.service.works import PATHS, Work, work_for
from quant.artifact import read_artifact
from quant.card import TARGET_LANGUAGE
from quant.scheme import Layers, Scheme
from serving.service.models import CheckedModel, ModelError, check_model

MODEL = "measured"
RANDOM = "BART-base's shape, 6-3, 2-2-8"
SHORTEST, LONGEST, NEW_TOKENS, TEXTS = 62, 190, 64, 24
"""Of the random summarizer: tokens of its sources, 128 on average with those around them, and of each output."""

GREEDY = 1


class Case(NamedTuple):
    """Requests to one model, searched for in one way."""

    name: str
    work: Work

    def at(self, address: str) -> Target:
        """The same requests for either side."""
        return Target("http", address, PATHS[self.work.task][0], self.work.over_http())


class Subject(NamedTuple):
    """A model, once for each side."""

    name: str
    model: CheckedModel
    converted: Path
    cases: tuple[Case, ...]

    def search_defaults(self) -> dict[str, Any]:
        """What the peer searches by where a request says nothing, by its own names."""
        defaults = self.model.defaults
        return {
            "beam_size": defaults.num_beams,
            "min_decoding_length": max(1, defaults.min_new_tokens),
            "max_decoding_length": defaults.max_new_tokens,
            "length_penalty": defaults.length_penalty,
            "repetition_penalty": defaults.repetition_penalty,
            "no_repeat_ngram_size": defaults.no_repeat_ngram_size,
        }


def subjects_of(folder: Path | None, texts: Path | None, only_random: bool, scratch: Path) -> Iterator[Subject]:
    """The artifact in a folder; without one, the shipped translator and a student of BART-base's shape with random weights,
    or the latter only. Each is made when it is asked for.

    Raises ModelError, ArtifactError, OSError.
    """
    if not only_random:
        given = (folder or shipped_model("translation")).resolve()
        yield _subject(given.name, given, texts, scratch)
    if folder is None:
        yield random_subject(scratch)


def random_subject(scratch: Path) -> Subject:
    """A summarizer whose outputs are of equal length: those of random weights would end anywhere."""
    folder = scratch / "random-summarizer"
    write_random_artifact(folder, Layers(6, 3), Scheme(2, 2, 8))
    vocab_size: int = BART_BASE["vocab_size"]  # type: ignore[assignment]
    write_words(folder, vocab_size)
    sources = random_texts(TEXTS, SHORTEST, LONGEST, vocab_size)
    works = [
        Work("summarization", MODEL, sources, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, num_beams=beams)
        for beams in (4, GREEDY)
    ]
    return _converted(RANDOM, folder, works, scratch)


def _subject(name: str, folder: Path, texts: Path | None, scratch: Path) -> Subject:
    model = check_model(MODEL, folder, 64)
    if model.card.task == "question-answering":
        raise ModelError(f"{name} answers questions, the peer is asked to translate or to summarize")
    if model.card.decoder_start == TARGET_LANGUAGE:
        raise ModelError(f"{name}: its decoder starts with the language, which the peer is not converted for")
    work = work_for(MODEL, model.card.task, model.card.language_pairs, texts)
    beams = [model.defaults.num_beams] if model.defaults.num_beams == GREEDY else [model.defaults.num_beams, GREEDY]
    return _converted(name, folder, [work._replace(num_beams=each) for each in beams], scratch)


def _converted(name: str, folder: Path, works: list[Work], scratch: Path) -> Subject:
    converted = scratch / f"{folder.name}-ctranslate2"
    write_ctranslate2(read_artifact(folder), converted, "int8")
    cases = [Case(f"{name}, {'greedy' if work.num_beams == GREEDY else f'beams {work.num_beams}'}", work) for work in works]
    return Subject(name, check_model(MODEL, folder, 64), converted, tuple(cases))
