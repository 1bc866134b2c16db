"""A random walk on both runners: every logit of every row is the reference's, to the bit."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant.artifact import Artifact
from quant.structure import Structure
from serving.engine.native.library import UnavailableError
from serving.engine.native.runner import NativeRunner, grouped
from serving.engine.pytorch.model import Model
from serving.engine.pytorch.runner import PyTorchRunner
from serving.engine.runner import Source, Wanted
from tests.serving.engine.lists import listed, told


@pytest.mark.parametrize("architecture", ["bart", "mbart"])
@pytest.mark.parametrize("scheme", ["2-2-8", "4-4-8", "8-8-8", "2-8-8", "2-2-8/matrix"])
def test_logits_of_the_reference(architecture: str, scheme: str, build_student: Any) -> None:
    walk_both(build_student(architecture, scheme).artifact, random.Random(scheme), steps=30)


@pytest.mark.parametrize("architecture", ["bart", "mbart"])
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_logits_of_the_reference_for_every_structure(
    architecture: str, data: st.DataObject, build_structured: Any, structures: Any
) -> None:
    student = build_structured(architecture, data.draw(st.sampled_from(["2-2-8", "8-4-8/matrix"])), data.draw(structures))
    walk_both(student.artifact, random.Random(data.draw(st.integers(0, 99))), steps=10)


def walk_both(artifact: Artifact, draw: random.Random, steps: int) -> None:
    """Sources join in slices of layers, rows multiply, are reordered and leave."""
    vocabulary, positions = artifact.architecture.vocab_size, artifact.architecture.max_position_embeddings
    runners = PyTorchRunner(Model(artifact)), NativeRunner(artifact)
    most: list[int] = []  # rows of each source, and what it may have
    rows: list[int] = []
    for _ in range(steps):
        if not rows or draw.random() < 0.4:
            lengths = [draw.choice([1, 2, 5, 15, 16, 17, 33, 60]) for _ in range(draw.choice([1, 2, 3]))]
            sources = [
                Source([draw.randrange(4, vocabulary) for _ in range(length)], draw.choice([1, 1, 3, 5]), positions)
                for length in lengths
            ]
            for runner in runners:
                runner.begin(sources)
                while not runner.encode(1):
                    pass
            most += [source.rows for source in sources]
            rows += [1] * len(sources)
        tokens = [draw.randrange(vocabulary) for _ in range(sum(rows))]
        wanted = [Wanted(count=draw.choice([vocabulary, 100])) for _ in rows]
        expected, found = (runner.decode(tokens, wanted) for runner in runners)
        assert list(map(listed, found)) == list(map(listed, expected))
        parents = [
            [] if draw.random() < 0.1 else [draw.randrange(now) for _ in range(draw.choice([1, limit, limit]))]
            for now, limit in zip(rows, most, strict=True)
        ]
        for runner in runners:
            runner.select(parents)
        most = [limit for limit, kept in zip(most, parents, strict=True) if kept]
        rows = [len(kept) for kept in parents if kept]
        assert [runner.rows for runner in runners] == [sum(rows)] * 2


def test_nothing_is_computed_for_rows_of_which_nothing_is_wanted(build_student: Any) -> None:
    runner = NativeRunner(build_student("bart", "2-2-8").artifact)
    runner.begin([Source([5, 6, 2], 2, 8), Source([7, 2], 1, 8)])
    assert runner.encode(99)
    both = [Wanted(count=3), Wanted(count=3, normalizers=True)]
    first, second = runner.decode([2, 2], both)
    runner.clear()
    runner.begin([Source([5, 6, 2], 2, 8), Source([7, 2], 1, 8)])
    runner.encode(99)
    nothing, again = runner.decode([2, 2], [Wanted(count=0), both[1]])
    assert listed(nothing) == ([[]], [[]])
    assert told([again]) == told([second])
    assert first.tokens.shape == (1, 3)


def test_what_was_begun_can_be_abandoned(build_student: Any) -> None:
    runner = NativeRunner(build_student("mbart", "2-2-8").artifact)
    runner.begin([Source([5, 6, 2], 1, 8)])
    assert not runner.encode(1)
    runner.abandon()
    assert runner.rows == 0


def test_cache_bytes_by_hand(build_student: Any) -> None:
    """Two layers, 4 heads of 16: a key or value has 64 bytes of codes and 16 of scales. 17 source tokens take 32 places, and
    20 positions of 3 rows two pages of 16. Tables have a number for each position of each row, and a page's address."""
    runner = NativeRunner(build_student("bart", "2-2-8").artifact)
    source = Source([5] * 17, 3, 20)
    cross, page, tables = 2 * 2 * 80 * 32, 2 * 2 * 80 * 3 * 16, 4 * 3 * 20 + 8 * 2
    assert runner.page_positions == 16
    assert [runner.cache_bytes(source, positions) for positions in (1, 16, 17, 20)] == [
        *(cross + tables + page,) * 2,
        *(cross + tables + 2 * page,) * 2,
    ]


def test_layers_take_what_their_heads_take(build_structured: Any) -> None:
    """3 + 4 heads over the row's own positions, 1 + 4 over the source: a key and a value of 16 codes and a scale each."""
    heads = {"decoder.layers.0.self_attn": 3, "decoder.layers.0.encoder_attn": 1, "encoder.layers.1.self_attn": 2}
    runner = NativeRunner(build_structured("mbart", "2-2-8", Structure(heads=heads)).artifact)
    source = Source([5] * 17, 3, 10)
    runner.begin([source])
    runner.encode(2)
    runner.decode([2], [Wanted(1)])
    (cache,) = runner._batch.sources
    arrays = (cache._cross, cache._ancestors, cache._addresses, *cache._pages)
    assert [array.nbytes for array in arrays] == [5 * 40 * 32, 4 * 3 * 10, 8, 7 * 40 * 3 * 16]
    assert runner.cache_bytes(source, 1) == sum(array.nbytes for array in arrays)


def test_pages_pass_from_who_ends_to_who_comes(build_student: Any) -> None:
    runner = NativeRunner(build_student("bart", "2-2-8").artifact)
    sources = [Source([5, 2], 1, 40), Source([6, 2], 3, 40)]
    page = 2 * 2 * 80 * 16

    def run(positions: int) -> None:
        runner.begin(sources)
        runner.encode(2)
        for _ in range(positions):
            runner.decode([2, 2], [Wanted(1)] * 2)
            runner.select([[0], [0]])

    run(17)
    assert runner.spare_bytes == 0
    runner.select([[], [0]])
    assert runner.spare_bytes == 2 * page
    runner.select([[]])
    assert runner.spare_bytes == 2 * (1 + 3) * page
    run(1)
    assert runner.spare_bytes == (1 + 3) * page
    runner.trim(3 * page)
    assert runner.spare_bytes == 3 * page
    runner.clear()
    assert runner.spare_bytes == 0


def test_unquantized_activations_are_not_for_the_kernels(build_student: Any) -> None:
    with pytest.raises(UnavailableError, match="leaves activations unquantized"):
        NativeRunner(build_student("mbart", "8-8-16").artifact)


def test_neighbours_are_grouped() -> None:
    assert grouped([3, 4, 5, 20, 1, 1], 8) == [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 6)]
