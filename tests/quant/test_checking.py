"""Weights that come as codes and scales: packed as they are, or every fault of theirs named."""

from pathlib import Path

import pytest
import torch

from quant.artifact import ArtifactError, read_artifact
from quant.numerics import Quantized, quantize_with_scale

from .conftest import Model

NAME = "model.encoder.layers.0.fc1.weight"
SHAPE = (17, 12)


def test_codes_and_scales_are_packed_as_they_are(model: Model, tmp_path: Path) -> None:
    weight = model.weights[NAME]
    quantized = quantize_with_scale(weight, torch.full((17, 1), 0.375), 2)
    read = read_artifact(model.write(tmp_path, weights={**model.weights, NAME: quantized})).quantized(NAME)
    assert torch.equal(read.codes, quantized.codes)
    assert torch.equal(read.scale, quantized.scale)


@pytest.mark.parametrize(
    ("quantized", "fault"),
    [
        (
            Quantized(torch.zeros(12, 17, dtype=torch.int8), torch.ones(12, 1)),
            "has codes [12, 17] and scale [12, 1], [17, 12] and [17, 1] expected",
        ),
        (
            Quantized(torch.zeros(SHAPE, dtype=torch.int8), torch.ones(1, 1)),
            "has codes [17, 12] and scale [1, 1], [17, 12] and [17, 1] expected",
        ),
        (
            Quantized(torch.full(SHAPE, -2, dtype=torch.int8), torch.ones(17, 1)),
            "has codes up to 2, 1 is the largest of 2 bits",
        ),
        (
            Quantized(torch.zeros(SHAPE, dtype=torch.int8), torch.full((17, 1), 0.1)),
            "has a scale that is negative or no float16 value",
        ),
        (
            Quantized(torch.zeros(SHAPE, dtype=torch.int8), torch.full((17, 1), -1.0)),
            "has a scale that is negative or no float16 value",
        ),
        (
            Quantized(torch.zeros(SHAPE, dtype=torch.int8), torch.full((17, 1), torch.nan)),
            "has a scale that is negative or no float16 value",
        ),
    ],
)
def test_faults_of_codes_and_scales(model: Model, tmp_path: Path, quantized: Quantized, fault: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        model.write(tmp_path, weights={**model.weights, NAME: quantized})
    assert str(caught.value).splitlines()[1:] == [f"  {NAME} {fault}"]


def test_a_bias_is_not_quantized(model: Model, tmp_path: Path) -> None:
    name = "model.encoder.layers.0.fc1.bias"
    quantized = Quantized(torch.zeros(17, dtype=torch.int8), torch.ones(1))
    with pytest.raises(ArtifactError, match=f"{name} is quantized, floating point expected"):
        model.write(tmp_path, weights={**model.weights, name: quantized})
