"""The layout says what layers.py asks for, once each, and nothing of it overlaps."""

from __future__ import annotations

from typing import Any

import pytest

from quant.artifact import Artifact
from quant.layout import LOGITS_BIAS, model_layout
from quant.structure import Structure
from serving.engine.native.packed_layout import ALIGNMENT, PackedLayout, packed_layout

STRUCTURE = Structure({"encoder.layers.0.feed_forward": 8}, {"decoder.layers.0.self_attn": 1})


@pytest.fixture(params=["plain", "bias", "untied-bias", "odd-sizes"])
def artifact(request: pytest.FixtureRequest, build_variant: Any) -> Artifact:
    read: Artifact = build_variant("mbart", "2-4-8", request.param).artifact
    return read


def test_each_tensor_lies_somewhere_once(artifact: Artifact) -> None:
    layout = packed_layout(artifact)
    parts = [weight.name for matrix in layout.matrices.values() for weight in matrix.weights]
    parts += [bias for matrix in layout.matrices.values() for bias in matrix.biases]
    stored = [tensor.name for tensor in model_layout(artifact.architecture, artifact.scheme, artifact.structure)]
    assert sorted([*parts, *layout.positions, *layout.floats]) == sorted(stored)
    assert (LOGITS_BIAS in parts) == artifact.architecture.add_bias_logits


def test_places_are_aligned_and_apart(artifact: Artifact) -> None:
    layout = packed_layout(artifact)
    places = sorted(layout.places.values())
    assert places[0] == 0
    assert len(set(places)) == len(places)
    assert all(place % ALIGNMENT == 0 for place in [*places, layout.size])
    assert places[-1] < layout.size


def test_what_is_multiplied_together_lies_together(build_structured: Any) -> None:
    """Three projections of 64 outputs each, one head of two left, are 96 rows of one matrix."""
    artifact = build_structured("bart", "2-4-8", STRUCTURE).artifact
    matrices = packed_layout(artifact).matrices
    width = artifact.architecture.d_model
    own = matrices["model.decoder.layers.0.self_attn.q_proj.weight"]
    head = width // artifact.architecture.decoder_attention_heads
    assert (own.rows, own.columns, own.bits) == (3 * head, width, 2)
    assert [bias.split(".")[-2] for bias in own.biases] == ["q_proj", "k_proj", "v_proj"]
    assert matrices["model.decoder.layers.0.encoder_attn.q_proj.weight"].rows == width
    assert matrices["model.decoder.layers.0.encoder_attn.k_proj.weight"].rows == 2 * width
    assert matrices["model.encoder.layers.0.fc1.weight"].bits == 8
    assert matrices["model.shared.weight"].bits == 4


def test_the_digest_is_of_all_that_it_says(build_student: Any, build_variant: Any) -> None:
    layouts: list[PackedLayout] = [
        packed_layout(build_student("bart", "2-2-8").artifact),
        packed_layout(build_student("bart", "2-4-8").artifact),
        packed_layout(build_variant("bart", "2-2-8", "odd-sizes").artifact),
    ]
    assert len({layout.digest() for layout in layouts}) == 3
    assert layouts[0].digest() == packed_layout(build_student("bart", "2-2-8").artifact).digest()
