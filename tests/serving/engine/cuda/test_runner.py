"""The runner for CUDA on the CPU has the reference's bits, whatever its batch goes through."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.fx.experimental.proxy_tensor import make_fx

from serving.engine.cuda.device import UnsupportedModel, available
from serving.engine.cuda.runner import CudaRunner, Shape
from serving.engine.pytorch.model import Model
from serving.engine.pytorch.runner import PyTorchRunner
from serving.engine.runner import Draws, Source, Wanted
from tests.serving.engine.lists import edits, told

VOCABULARY = 203
EVERYTHING = Wanted(count=VOCABULARY, normalizers=True)
needs_cuda = pytest.mark.skipif(not available().available, reason=f"captures on a GPU: {available().reason}")


def source(draw: random.Random, rows: int = 4) -> Source:
    length = draw.choice([1, 2, 15, 16, 17, 31, 33, 60])
    return Source([draw.randrange(4, VOCABULARY) for _ in range(length)], rows=rows, positions=60)


class Pair:
    """The reference and the runner under test, told the same."""

    def __init__(self, artifact: Any, max_rows: int, draw: random.Random) -> None:
        self.runners = PyTorchRunner(Model(artifact)), CudaRunner(artifact, max_rows, device="cpu")
        self.draw = draw
        self.rows: list[int] = []
        self.free = max_rows

    def join(self, sources: list[Source]) -> None:
        for runner in self.runners:
            runner.begin(sources)
            while not runner.encode(self.draw.randint(1, 2)):
                pass
        self.rows += [1] * len(sources)

    def decode(self) -> None:
        tokens = [self.draw.randrange(VOCABULARY) for _ in range(sum(self.rows))]
        expected, found = (runner.decode(tokens, [EVERYTHING] * len(self.rows)) for runner in self.runners)
        assert told(found) == told(expected)

    def select(self, parents: list[list[int]]) -> None:
        for runner in self.runners:
            runner.select(parents)
        self.rows = [len(rows) for rows in parents if rows]
        assert [runner.rows for runner in self.runners] == [sum(self.rows)] * 2


@pytest.mark.parametrize(("architecture", "scheme"), [("bart", "2-2-8"), ("mbart", "8-8-8"), ("mbart", "4-4-8/matrix")])
def test_bits_of_the_reference(architecture: str, scheme: str, build_student: Any) -> None:
    """Sources of all lengths, joining one after another, their rows growing to four and going on past 32 positions."""
    draw = random.Random(1)
    pair = Pair(build_student(architecture, scheme).artifact, max_rows=24, draw=draw)
    for _ in range(6):
        pair.join([source(draw)])
        pair.decode()
        pair.select([[draw.randrange(rows) for _ in range(4)] for rows in pair.rows])
    for _ in range(40):
        pair.decode()
        pair.select([[draw.randrange(4) for _ in range(4)] for _ in pair.rows])


@given(data=st.data())
@settings(max_examples=8)
def test_bits_of_the_reference_for_every_structure(build_structured: Any, structures: Any, data: st.DataObject) -> None:
    draw = random.Random(data.draw(st.integers(0, 99)))
    architecture = data.draw(st.sampled_from(["bart", "mbart"]))
    pair = Pair(build_structured(architecture, "2-2-8", data.draw(structures)).artifact, max_rows=12, draw=draw)
    pair.join([source(draw), source(draw), source(draw)])
    for _ in range(6):
        pair.decode()
        pair.select([[draw.randrange(rows) for _ in range(4)] for rows in pair.rows])


@given(st.integers(0, 2**31))
@settings(max_examples=12)
def test_batches_that_come_and_go(build_student: Any, seed: int) -> None:
    """Slots are used again, beams are dropped and doubled, whole sources leave, twice between two steps now and then."""
    draw = random.Random(seed)
    most = 12
    pair = Pair(build_student("bart", "2-2-8").artifact, most, draw)
    for _ in range(25):
        joining = draw.randint(0, 2)
        if 0 < joining <= most - sum(pair.rows):
            if draw.random() < 0.2:
                pair.runners[1].begin([source(draw)])
                pair.runners[1].abandon()
            pair.join([source(draw) for _ in range(joining)])
        if pair.rows:
            pair.decode()
        for _ in range(draw.choice([0, 1, 1, 2])):
            pair.select(parents(draw, pair.rows, most))
        if draw.random() < 0.05:
            for runner in pair.runners:
                runner.clear()
            pair.rows = []


def parents(draw: random.Random, rows: list[int], most: int) -> list[list[int]]:
    """For each source up to four of its rows, in any order, named as often as `most` rows in all allow."""
    room = most - sum(rows)
    chosen = []
    for count in rows:
        wanted = draw.choice([0, count, count, 1, 4])
        wanted = min(wanted, count + room)
        room -= max(0, wanted - count)
        chosen.append([draw.randrange(count) for _ in range(wanted)])
    return chosen


def test_16_bit_activations_too(build_student: Any) -> None:
    draw = random.Random(3)
    pair = Pair(build_student("mbart", "8-8-16").artifact, max_rows=4, draw=draw)
    pair.join([source(draw), source(draw)])
    pair.decode()


def test_a_step_reads_and_writes_nothing_but_its_tensors(build_student: Any) -> None:
    """What a graph's replay needs, tried on the CPU: a step that was traced once decodes other batches of its shape.

    Two sources of 17 to 32 tokens, who take each other's slots the next time.
    """
    artifact = build_student("mbart", "2-2-8").artifact
    draw = random.Random(4)
    traced, called = (CudaRunner(artifact, 8, device="cpu") for _ in range(2))
    graphs: dict[Shape, Any] = {}
    replays = 0

    def replay(shape: Shape, step: Any) -> None:
        nonlocal replays
        if shape in graphs:
            replays += 1
        else:
            graphs[shape] = make_fx(step)()
        graphs[shape]()

    traced._steps.run = replay  # type: ignore[method-assign, assignment]
    for _ in range(3):
        sources = [Source([draw.randrange(4, VOCABULARY) for _ in range(draw.randint(17, 32))], 3, 60) for _ in range(2)]
        for runner in (traced, called):
            runner.begin(sources)
            runner.encode(2)
        for _ in range(20):
            tokens = [draw.randrange(VOCABULARY) for _ in range(called.rows)]
            steps = (runner.decode(tokens, [EVERYTHING] * 2) for runner in (traced, called))
            first, second = map(told, steps)
            assert first == second
            chosen = [[draw.randrange(called.rows // 2) for _ in range(3)] for _ in range(2)]
            for runner in (traced, called):
                runner.select(chosen)
        for runner in (traced, called):
            runner.select([[], []])
    assert (len(graphs), replays) == (3, 57)


def test_everything_lies_on_the_device(build_student: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PyTorch's device without data, which like a GPU refuses operands that were left on the CPU."""
    downloaded: list[torch.Tensor] = []
    monkeypatch.setattr("serving.engine.cuda.runner.require_exact_products", lambda device: None)
    monkeypatch.setattr("serving.engine.cuda.candidates._candidates", lambda answer, *_: downloaded.append(answer))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: tensor)
    runner = CudaRunner(build_student("mbart", "2-2-8").artifact, 8, device="meta")
    runner.begin([Source([5, 2], 3, 60), Source([7] * 20, 1, 60)])
    assert runner.encode(2)
    places = edits(1, [(0, 5), (0, 9)])
    edited = Wanted(4, log_probabilities=True, normalizers=True, penalized=places, repetition_penalty=1.2, banned=places)
    drawn = Wanted(1, draws=Draws(1.0, 0, 0.9, [[0.5]]))
    runner.decode([2, 2], [edited, Wanted(1)])
    runner.select([[0, 0, 0], [0]])
    runner.decode([2] * 4, [edited, Wanted(1)])
    runner.decode([2] * 4, [Wanted(0), Wanted(0)])
    runner.decode([2] * 4, [Wanted(0), drawn])
    assert {answer.device.type for answer in downloaded} == {"meta"}
    # Candidates, whether rows are of numbers, and normalizers; never nothing, as the next step waits for the download.
    assert [len(answer) for answer in downloaded] == [4 + 1 + 2 + 2, 3 * 4 + 1 + 4 + 4, 4, 1 + 4]


def test_what_fills_a_shape_stays_finite(build_student: Any) -> None:
    """Three rows of one source and one of another: a shape of four rows, two sources, four beams."""
    runner = CudaRunner(build_student("bart", "2-2-8").artifact, 8, device="cpu")
    runner.begin([Source([5, 2], 3, 60)] * 3)
    runner.encode(2)
    runner.decode([2, 2, 2], [EVERYTHING] * 3)
    assert torch.isfinite(runner._logits[:4, :VOCABULARY]).all()
    assert torch.isneginf(runner._logits[:4, VOCABULARY:]).all()


def test_cache_bytes_and_their_ceiling(build_student: Any) -> None:
    """Codes of 64 and scales of 4 heads at 64 positions, two layers, keys and values, of self and of cross attention."""
    artifact = build_student("bart", "2-2-8").artifact
    row = (64 + 4 * 4) * 64 * 2 * 2 * 2
    runner = CudaRunner(artifact, max_rows=8, max_cache_bytes=3 * row + 1, device="cpu")
    assert runner.cache_bytes(Source([2], 3, 10), 1) == 3 * row
    runner.begin([Source([2], 1, 10)] * 3)
    with pytest.raises(RuntimeError, match="1 sources are to be encoded, 0 rows are free"):
        runner.begin([Source([2], 1, 10)])
    with pytest.raises(ValueError, match=f"max_cache_bytes is 1, one row of this model takes {row}"):
        CudaRunner(artifact, max_rows=8, max_cache_bytes=1, device="cpu")


def test_more_rows_than_slots_are_a_fault(build_student: Any) -> None:
    runner = CudaRunner(build_student("bart", "2-2-8").artifact, 2, device="cpu")
    runner.begin([Source([2], 3, 10)])
    runner.encode(2)
    runner.decode([2], [EVERYTHING])
    with pytest.raises(RuntimeError, match="all 2 rows are taken"):
        runner.select([[0, 0, 0]])


def test_encoding_nothing_is_a_fault(build_student: Any) -> None:
    with pytest.raises(RuntimeError, match="nothing is being encoded"):
        CudaRunner(build_student("bart", "2-2-8").artifact, 2, device="cpu").encode(1)


@needs_cuda
def test_captured_steps_have_the_bits_of_called_ones(build_student: Any) -> None:
    artifact = build_student("mbart", "2-2-8").artifact
    draw = random.Random(5)
    captured, called = (CudaRunner(artifact, 8) for _ in range(2))
    called._steps.run = lambda shape, step: step()  # type: ignore[method-assign, assignment]
    for runner in (captured, called):
        runner.begin([Source([7, 9, 2], 4, 60), Source([5] * 20, 4, 60)])
        runner.encode(2)
    for _ in range(40):
        tokens = [draw.randrange(VOCABULARY) for _ in range(called.rows)]
        assert captured.decode(tokens, [EVERYTHING] * 2) == called.decode(tokens, [EVERYTHING] * 2)
        chosen = [[draw.randrange(called.rows // 2) for _ in range(4)] for _ in range(2)]
        for runner in (captured, called):
            runner.select(chosen)


@needs_cuda
def test_a_source_alone_has_the_bits_it_has_among_others(build_student: Any) -> None:
    artifact = build_student("mbart", "2-2-8").artifact
    sources = [Source([7 + length] * length, 1, 60) for length in (3, 17, 33, 60, 5, 1, 16)]
    together = CudaRunner(artifact, 8)
    together.begin(sources)
    together.encode(2)
    steps = [together.decode([token] * len(sources), [EVERYTHING] * len(sources)) for token in range(4, 24)]
    for place, each in enumerate(sources):
        alone = CudaRunner(artifact, 8)
        alone.begin([each])
        alone.encode(2)
        found = [alone.decode([token], [EVERYTHING])[0] for token in range(4, 24)]
        assert told(found) == told([step[place] for step in steps])


def test_longer_models_are_refused(build_student: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.engine.cuda.runner.MOST_POSITIONS", 32)
    with pytest.raises(UnsupportedModel, match="max_position_embeddings is 64, at most 32 are supported on cpu"):
        CudaRunner(build_student("bart", "2-2-8").artifact, 2, device="cpu")
