"""Sizes on disk beside the paper's figures, measured on files of BART-base's shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.random_artifact import BART_BASE
from quant.artifact import WEIGHTS_FILE, Sizes, read_artifact, sizes
from quant.card import Card
from quant.layout import Architecture, float_bytes, model_layout
from quant.scheme import Layers, Scheme

from .conftest import Model

MIB = 2**20


@pytest.fixture(scope="module")
def packed_sizes(
    config: dict[str, Any], card: Card, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Sizes]:
    """Write a BART-base of random weights under a scheme with E-D layers, and measure it."""
    teacher = Architecture.from_config({**config, **BART_BASE})
    by_shape: dict[tuple[int, ...], Tensor] = {}

    def measured(scheme: str, layers: str) -> Sizes:
        kept = Layers.parse(layers)
        student = {**config, **BART_BASE, "encoder_layers": kept.encoder, "decoder_layers": kept.decoder}
        weights = {}
        for tensor in model_layout(Architecture.from_config(student), Scheme.parse(scheme)):
            if tensor.shape not in by_shape:
                by_shape[tensor.shape] = torch.randn(tensor.shape)
            weights[tensor.name] = by_shape[tensor.shape]
        folder = tmp_path_factory.mktemp("bart-base")
        Model(student, replace(card, teacher_bytes=float_bytes(teacher)), weights).write(folder, scheme)
        size = sizes(read_artifact(folder))
        (folder / WEIGHTS_FILE).unlink()
        return size

    return measured


def test_the_teacher_in_float32(config: dict[str, Any]) -> None:
    assert round(float_bytes(Architecture.from_config({**config, **BART_BASE})) / MIB) == 532


@pytest.mark.parametrize(
    ("scheme", "layers", "most_mib", "least_ratio"),
    [
        ("8-8-8", "6-6", 136, 3.9),
        ("2-2-8", "6-6", 29, 18),
        ("2-2-8", "6-3", 23.1, 23),
        ("2-2-8/matrix", "6-3", 23, 23.2),
        ("2-2-8", "1-1", 12.7, 42),
    ],
)
def test_targets_beside_the_paper(
    packed_sizes: Callable[[str, str], Sizes], scheme: str, layers: str, most_mib: float, least_ratio: float
) -> None:
    size = packed_sizes(scheme, layers)
    assert size.packed / MIB <= most_mib
    assert size.ratio >= least_ratio
