from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from quant.numerics import Quantized
from serving.engine.pytorch.encoding import Encoding
from serving.engine.pytorch.model import Model

SOURCES = [[5, 9, 2], [7] * 20, [2]]


@pytest.fixture
def model(build_student: Any) -> Model:
    return Model(build_student("mbart", "2-2-8").artifact)


def test_slices_end_where_all_at_once_does(model: Model) -> None:
    at_once, sliced = Encoding(model, SOURCES), Encoding(model, SOURCES)
    assert at_once.run(layers=5)
    assert [sliced.run(layers=1), sliced.run(layers=1)] == [False, True]
    assert torch.equal(sliced.hidden, at_once.hidden)


def test_a_source_is_encoded_as_if_it_were_alone(model: Model) -> None:
    together = Encoding(model, SOURCES)
    together.run(layers=2)
    assert (together.hidden.shape, together.lengths.tolist()) == ((3, 32, 64), [3, 20, 1])
    for place, source in enumerate(SOURCES):
        alone = Encoding(model, [source])
        alone.run(layers=2)
        assert torch.equal(alone.hidden[0, : len(source)], together.hidden[place, : len(source)])


def test_a_source_may_be_as_long_as_the_model_goes(build_student: Any) -> None:
    """20 positions, though sources are padded to 32."""
    artifact = build_student("mbart", "2-2-8").artifact
    name = "model.encoder.embed_positions.weight"
    positions = artifact.quantized(name)
    shorter = replace(
        artifact,
        architecture=replace(artifact.architecture, max_position_embeddings=20),
        tensors={**artifact.tensors, name: Quantized(positions.codes[:22], positions.scale[:22])},
    )
    encodings = [Encoding(Model(each), [[7] * 20]) for each in (shorter, artifact)]
    assert all(encoding.run(layers=2) for encoding in encodings)
    assert torch.equal(*(encoding.hidden[0, :20] for encoding in encodings))
