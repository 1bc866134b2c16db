"""Models as people have them: biases on logits, heads of their own, other activations, odd sizes, ids that are not there.

Each is compared on every runner as the plain ones are: ids equal to `generate`, bits equal alone and in any batch.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from quant.layout import DECODER_EMBEDDING, HEAD, LOGITS_BIAS, TOKEN_MATRICES
from serving.engine.engine import Engine
from serving.engine.runner import Source, Wanted
from serving.engine.settings import EngineSettings
from tests.serving.engine.conftest import VARIANTS
from tests.serving.engine.test_batch_independence import assert_same, mixed_requests
from tests.serving.engine.test_engine_against_generate import BASIC, Sources, compare

ODD = [name for name in VARIANTS if name != "plain"]
STORED = {
    "plain": set(),
    "bias": {LOGITS_BIAS},
    "untied": {DECODER_EMBEDDING, HEAD},
    "untied-head": {HEAD},
    "untied-bias": {DECODER_EMBEDDING, HEAD, LOGITS_BIAS},
}


@pytest.mark.parametrize("variant", STORED)
def test_what_is_stored_beside_the_embedding(variant: str, build_variant: Any) -> None:
    tensors = build_variant("bart", "4-4-8", variant).artifact.tensors
    assert {name for name in (*TOKEN_MATRICES[1:], LOGITS_BIAS) if name in tensors} == STORED[variant]


@pytest.mark.parametrize(("scheme", "name"), [("8-8-8", "greedy"), ("2-4-8", "beams"), ("8-8-16", "beams")])
@pytest.mark.parametrize(("variant", "architecture"), [(name, ("bart", "mbart")[at % 2]) for at, name in enumerate(ODD)])
def test_same_ids(
    variant: str,
    architecture: str,
    scheme: str,
    name: str,
    build_variant: Any,
    build_runner: Any,
    sources: Sources,
    run_all: Any,
) -> None:
    student = build_variant(architecture, scheme, variant)
    compare(student, build_runner(student.artifact), BASIC[name], sources, run_all)


@pytest.mark.parametrize("variant", ODD)
def test_same_bits_alone_and_among_others(variant: str, build_variant: Any, build_runner: Any, run_all: Any) -> None:
    runner = build_runner(build_variant("mbart", "2-4-8", variant).artifact)
    requests = mixed_requests(seed=5, count=8)
    alone = [run_all(Engine(runner, EngineSettings()), [request])[0] for request in requests]
    engine = Engine(runner, EngineSettings(max_batch_rows=128, max_encode_tokens=100_000))
    assert_same(run_all(engine, requests), alone)


@pytest.mark.parametrize("variant", ODD)
@pytest.mark.parametrize("scheme", ["8-8-8", "2-2-8"])
def test_logits_have_the_students_bits(variant: str, scheme: str, build_variant: Any, build_runner: Any) -> None:
    """Every candidate, and normalizers as close as the runner's own sums are."""
    student = build_variant("bart", scheme, variant)
    runner = build_runner(student.artifact)
    source, vocabulary = [5, 77, 140, 9, 2], student.artifact.architecture.vocab_size
    runner.begin([Source(source, rows=1, positions=8)])
    runner.encode(student.artifact.architecture.encoder_layers)
    (found,) = runner.decode([2], [Wanted(count=vocabulary, normalizers=True)])
    with torch.inference_mode():
        logits = student.stock(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([[2]])).logits[0, 0]
    expected = logits.sort(stable=True, descending=True)
    assert list(found.values[0]) == expected.values.tolist()
    assert list(found.tokens[0]) == expected.indices.tolist()
    assert found.normalizers[0] == pytest.approx(float(logits.logsumexp(0)), rel=1e-6)
