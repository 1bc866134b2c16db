"""Random students have the shape that was asked for, and are the same every time."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.random_artifact import write_random_artifact
from quant.artifact import read_artifact
from quant.layout import EMBEDDING
from quant.scheme import Layers, Scheme

from .conftest import TINY


def test_shape_and_values(tiny_student: Path, tmp_path: Path) -> None:
    first = read_artifact(tiny_student)
    assert (str(first.architecture.layers), str(first.scheme), first.architecture.d_model) == ("2-2", "2-2-8", 64)
    write_random_artifact(tmp_path / "again", Layers(2, 2), Scheme(2, 2, 8), TINY)
    again = read_artifact(tmp_path / "again")
    assert torch.equal(first.quantized(EMBEDDING).codes, again.quantized(EMBEDDING).codes)
