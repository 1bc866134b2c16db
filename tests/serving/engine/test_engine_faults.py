"""Faults inside the engine: who fails with them, and that everybody else goes on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from quant.layout import EMBEDDING
from quant.numerics import Quantized
from serving.engine.engine import Engine, EngineStats
from serving.engine.errors import GenerationFailed
from serving.engine.pytorch.model import Model
from serving.engine.pytorch.runner import PyTorchRunner
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.row_search import RowSearch
from serving.engine.settings import EngineSettings

PARAMETERS = GenerationParameters(
    max_new_tokens=8, min_new_tokens=8, decoder_start_token_id=2, eos_token_ids=(2,), return_scores=True
)
REQUEST = Request((5, 6, 7, 2), PARAMETERS)
BEAMS = replace(REQUEST, parameters=replace(PARAMETERS, num_beams=3))


@pytest.fixture
def runner(build_student: Any) -> PyTorchRunner:
    return PyTorchRunner(Model(build_student("bart", "2-2-8").artifact))


def idle(engine: Engine) -> bool:
    stats = replace(engine.stats(), longest_stall_seconds=0.0)
    return stats == EngineStats(max_cache_bytes=stats.max_cache_bytes) and not engine.has_work


def contents(outcome: Result | Exception) -> object:
    assert isinstance(outcome, Result), outcome
    return outcome.sequences


def faulty(*_: object) -> Any:
    raise MemoryError


@pytest.mark.parametrize("method", ["advance", "wanted", "sequences"])
def test_a_fault_in_one_search_fails_that_request_only(
    method: str, runner: PyTorchRunner, run_all: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run_all(Engine(runner, EngineSettings()), [REQUEST, BEAMS])
    engine = Engine(runner, EngineSettings())
    right = getattr(RowSearch, method)

    def sometimes(search: RowSearch, *arguments: Any) -> Any:
        if search._sequences[0].history.ids[1:2] == [9]:
            raise ZeroDivisionError
        return right(search, *arguments)

    monkeypatch.setattr(RowSearch, method, sometimes)
    doomed = replace(REQUEST, parameters=replace(PARAMETERS, forced_bos_token_id=9))
    results = run_all(engine, [doomed, REQUEST, doomed, BEAMS])
    for place in (0, 2):
        assert isinstance(results[place], GenerationFailed)
        assert isinstance(results[place].__cause__, ZeroDivisionError)
    assert [contents(results[place]) for place in (1, 3)] == [contents(alone) for alone in expected]
    assert idle(engine)
    assert runner.rows == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("broken", ["embedding", "norm"])
def test_a_model_that_gives_no_numbers_fails_its_requests_and_no_others(
    broken: str, value: float, build_student: Any, build_runner: Any, run_all: Any
) -> None:
    """Of the tokens of a source one whose embedding is no number; or all of it, by a layer normalization."""
    artifact = build_student("bart", "8-8-8").artifact
    tensors = dict(artifact.tensors)
    if broken == "embedding":
        name = EMBEDDING
        tensors[name] = Quantized(tensors[name].codes, tensors[name].scale.clone())
        tensors[name].scale[150] = value
    else:
        name = "model.decoder.layers.1.final_layer_norm.bias"
        tensors[name] = tensors[name].clone()
        tensors[name][3] = value
    engine = Engine(build_runner(replace(artifact, tensors=tensors)), EngineSettings())
    kinds = [{}, {"num_beams": 3}, {"do_sample": True}, {"do_sample": True, "top_k": 3}]
    requests = [replace(REQUEST, parameters=replace(PARAMETERS, **kind)) for kind in kinds]
    for outcome in run_all(engine, requests):
        assert isinstance(outcome, GenerationFailed)
        assert isinstance(outcome.__cause__, FloatingPointError)
    assert idle(engine)


@pytest.mark.parametrize("method", ["begin", "encode", "decode", "select"])
def test_a_fault_in_the_runner_fails_what_it_holds_and_the_next_one_works(
    method: str, runner: PyTorchRunner, run_all: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (expected,) = run_all(Engine(runner, EngineSettings()), [REQUEST])
    engine = Engine(runner, EngineSettings(max_batch_rows=2))
    decoding = engine.submit(REQUEST)
    engine.step()
    coming, queued = engine.submit(REQUEST), engine.submit(REQUEST)
    with monkeypatch.context() as patched:
        patched.setattr(runner, method, faulty)
        ends = engine.step()
    assert [end.request_id for end in ends] == [decoding, coming]
    assert all(isinstance(end.outcome, GenerationFailed) for end in ends)
    assert runner.rows == 0
    (last,) = (end for _ in range(8) for end in engine.step())
    assert last.request_id == queued
    assert contents(last.outcome) == contents(expected)
    assert idle(engine)


def test_a_fault_between_two_slices_of_encoding_fails_what_is_encoded(
    runner: PyTorchRunner, run_all: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(runner, EngineSettings(encode_tokens_per_step=1))
    decoding = engine.submit(REQUEST)
    engine.step()
    coming = engine.submit(REQUEST)
    with monkeypatch.context() as patched:
        patched.setattr(runner, "decode", faulty)
        assert [end.request_id for end in engine.step()] == [decoding, coming]
    assert idle(engine)
    assert isinstance(run_all(engine, [REQUEST])[0], Result)


def test_a_fault_does_not_answer_those_who_left(runner: PyTorchRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(runner, EngineSettings())
    staying, leaving = engine.submit(REQUEST), engine.submit(REQUEST)
    engine.step()
    engine.cancel(leaving)

    monkeypatch.setattr(runner, "select", faulty)
    assert [end.request_id for end in engine.step()] == [staying]
    assert idle(engine)
