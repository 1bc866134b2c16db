"""A request's ids and scores have the same bits alone and in any batch, on any number of threads."""

from __future__ import annotations

import random
from typing import Any

import pytest

from serving.engine.engine import Engine
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.settings import EngineSettings
from serving.engine.threads import set_threads


def mixed_requests(seed: int, count: int) -> list[Request]:
    draw = random.Random(seed)
    return [mixed_request(draw) for _ in range(count)]


def mixed_request(draw: random.Random) -> Request:
    searches: list[dict[str, Any]] = [
        {},
        {"num_beams": draw.choice([2, 3, 4, 6]), "num_return_sequences": draw.choice([1, 2])},
        {"do_sample": True, "num_return_sequences": draw.choice([1, 3]), "temperature": draw.choice([0.5, 1.0, 2.0])},
    ]
    return Request(
        source_ids=(*(draw.randrange(4, 203) for _ in range(draw.choice([0, 1, 4, 9, 15, 16, 30, 47, 62]))), 2),
        parameters=GenerationParameters(
            **draw.choice(searches),
            max_new_tokens=draw.randrange(1, 32),
            decoder_start_token_id=2,
            eos_token_ids=(2,),
            length_penalty=draw.choice([0.0, 1.0, 2.0, -1.0]),
            early_stopping=draw.random() < 0.3,
            no_repeat_ngram_size=draw.choice([0, 0, 2, 3]),
            repetition_penalty=draw.choice([1.0, 1.2]),
            top_k=draw.choice([0, 5]),
            top_p=draw.choice([1.0, 0.9]),
            seed=draw.randrange(9),
            return_scores=True,
            forced_bos_token_id=draw.choice([None, 7]),
            forced_eos_token_id=draw.choice([None, 2]),
        ),
    )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("architecture", "scheme"), [("bart", "2-2-8"), ("mbart", "8-8-8"), ("mbart", "2-2-8/matrix")])
def test_same_bits_alone_and_among_others(
    architecture: str, scheme: str, threads: int, build_student: Any, build_runner: Any, run_all: Any
) -> None:
    runner = build_runner(build_student(architecture, scheme).artifact)
    requests = mixed_requests(seed=threads, count=20)
    alone = [run_all(Engine(runner, EngineSettings()), [request])[0] for request in requests]
    set_threads(threads)
    engine = Engine(runner, EngineSettings(max_batch_rows=128, max_encode_tokens=100_000))
    assert_same(run_all(engine, requests), alone)


def test_floating_point_activations_give_the_same_ids(build_student: Any, build_runner: Any, run_all: Any) -> None:
    """Not proven as it is for integers, so that here the ids alone are compared bit for bit."""
    runner = build_runner(build_student("mbart", "8-8-16").artifact)
    requests = mixed_requests(seed=9, count=24)
    alone = [run_all(Engine(runner, EngineSettings()), [request])[0] for request in requests]
    together = run_all(Engine(runner, EngineSettings(max_batch_rows=128)), requests)
    for result, expected in zip(together, alone, strict=True):
        for sequence, other in zip(result.sequences, expected.sequences, strict=True):
            assert sequence.token_ids == other.token_ids
            assert sequence.score == pytest.approx(other.score, rel=1e-6)


def assert_same(results: list[Any], alone: list[Any]) -> None:
    for result, expected in zip(results, alone, strict=True):
        assert isinstance(result, Result), result
        assert result.sequences == expected.sequences
