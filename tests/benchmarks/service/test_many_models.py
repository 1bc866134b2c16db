"""Many models of one server: their copies, what is asked of them, and what is said of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from benchmarks.service.figures import Rounds
from benchmarks.service.load import ANSWERED, Outcome
from benchmarks.service.many_models import Compared, as_json, copy_of, in_turns, many_models_table
from quant.artifact import read_artifact


def rounds(requests: int, seconds: float) -> Rounds:
    return Rounds((Outcome((seconds,) * requests, {ANSWERED: requests}, 1.0, 0.0),))


COMPARED = [
    Compared("1, the others idle", 1, rounds(10, 0.1), rounds(10, 0.104), 0.012, 0.013),
    Compared("8 of each", 2, rounds(100, 0.1), rounds(96, 0.2), 0.01, 0.01),
    Compared("8 of each", 10, rounds(100, 0.1), rounds(90, 1.0), 0.01, 0.01),
]


def test_copies_are_the_same_model_under_other_digests(tiny_student: Path, tmp_path: Path) -> None:
    original = read_artifact(tiny_student)
    copies = [read_artifact(copy_of(tiny_student, tmp_path / f"m{number}", number)) for number in range(2)]
    assert len({artifact.source_digest for artifact in (original, *copies)}) == 3
    for copy in copies:
        assert copy.tensors.keys() == original.tensors.keys()
        name = "model.decoder.layers.0.fc1.weight"
        assert torch.equal(copy.quantized(name).codes, original.quantized(name).codes)


def test_models_are_asked_in_turns() -> None:
    assert in_turns([(b"a0", b"a1"), (b"b0", b"b1")]) == (b"a0", b"b0", b"a1", b"b1")


def test_ratios_and_verdicts() -> None:
    assert [round(each.ratio, 2) for each in COMPARED] == [1.0, 0.96, 0.9]
    assert COMPARED[0].median_ratio == pytest.approx(1.04)
    console = Console(width=180, file=io.StringIO())
    with console.capture() as captured:
        console.print(many_models_table(COMPARED, 10))
    printed = captured.get()
    for expected in ("10 models in one server", "median 1.04x", "96% of one's", "missed", "13.0", "<= 1.05x", ">= 95%"):
        assert expected in printed
    assert printed.count(" met ") == 2


def test_json_has_both_sides() -> None:
    first = as_json(COMPARED)[0]
    assert (first["alone"]["p50"], first["among"]["throughput"]) == (0.1, 10)
