"""The life of a request, faults included. What is generated is tested in the files about generate and batches."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from quant.artifact import Artifact, ArtifactError
from serving.engine.engine import Engine, EngineStats, load_engine
from serving.engine.errors import EngineFull, GenerationFailed, InvalidRequest
from serving.engine.model import Model, UnsupportedModel
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.search import GreedySearch
from serving.engine.settings import EngineSettings

PARAMETERS = GenerationParameters(max_new_tokens=8, min_new_tokens=8, decoder_start_token_id=2, eos_token_id=2)
REQUEST = Request((5, 6, 7, 2), PARAMETERS)
BEAMS = replace(REQUEST, parameters=replace(PARAMETERS, num_beams=3))


@pytest.fixture
def model(build_student: Any) -> Model:
    return Model(build_student("bart", "2-2-8").artifact)


def test_a_request_joins_at_the_next_step_and_leaves_when_finished(model: Model) -> None:
    engine = Engine(model, EngineSettings())
    first = engine.submit(REQUEST)
    assert engine.stats() == EngineStats(queued_requests=1, running_requests=0, batch_rows=0)
    assert engine.step() == []
    assert engine.stats() == EngineStats(queued_requests=0, running_requests=1, batch_rows=1)
    second = engine.submit(BEAMS)
    ends: dict[int, int] = {}
    for step in range(2, 11):
        ends |= {end.request_id: step for end in engine.step()}
        if step == 3:
            assert engine.stats().batch_rows == 4
    assert ends == {first: 8, second: 9}
    assert engine.stats() == EngineStats(0, 0, 0)
    assert not engine.has_work


def test_the_result_tells_ids_and_times(model: Model, run_all: Any) -> None:
    (result,) = run_all(Engine(model, EngineSettings()), [REQUEST])
    assert isinstance(result, Result)
    assert len(result.token_ids) == 8
    assert result.score < 0
    assert min(result.queue_seconds, result.encode_seconds, result.decode_seconds) > 0


def test_refuses_what_the_settings_cannot_hold(model: Model) -> None:
    engine = Engine(model, EngineSettings(max_batch_rows=2, max_queued_requests=1))
    with pytest.raises(InvalidRequest, match="num_beams is 3, accepted are whole numbers from 1 to 2"):
        engine.submit(BEAMS)
    engine.submit(REQUEST)
    with pytest.raises(EngineFull):
        engine.submit(REQUEST)
    assert engine.stats().queued_requests == 1


def test_waits_for_rows(model: Model) -> None:
    engine = Engine(model, EngineSettings(max_batch_rows=3))
    engine.submit(BEAMS)
    engine.submit(REQUEST)
    for _ in range(8):
        engine.step()
        assert engine.stats().queued_requests == 1
    engine.step()
    assert engine.stats() == EngineStats(queued_requests=0, running_requests=1, batch_rows=1)


def test_cancelled_requests_are_gone_by_the_next_step(model: Model) -> None:
    engine = Engine(model, EngineSettings(max_batch_rows=4))
    running, queued, other = engine.submit(BEAMS), engine.submit(BEAMS), engine.submit(REQUEST)
    engine.step()
    engine.cancel(running)
    engine.cancel(queued)
    engine.step()
    assert engine.stats() == EngineStats(queued_requests=0, running_requests=1, batch_rows=1)
    ends = [end.request_id for _ in range(8) for end in engine.step()]
    assert ends == [other]


def test_cancelling_what_is_finished_or_unknown_changes_nothing(model: Model, run_all: Any) -> None:
    engine = Engine(model, EngineSettings())
    run_all(engine, [REQUEST])
    engine.cancel(0)
    engine.cancel(99)
    assert len(run_all(engine, [REQUEST])) == 1


def test_a_fault_in_one_search_fails_that_request_only(model: Model, run_all: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run_all(Engine(model, EngineSettings()), [REQUEST, BEAMS])
    engine = Engine(model, EngineSettings())
    advance = GreedySearch.advance

    def faulty(search: GreedySearch, logits: torch.Tensor) -> list[int]:
        if search.tokens == [9]:
            raise ZeroDivisionError
        return advance(search, logits)

    monkeypatch.setattr(GreedySearch, "advance", faulty)
    doomed = replace(REQUEST, parameters=replace(PARAMETERS, forced_bos_token_id=9))
    results = run_all(engine, [doomed, REQUEST, doomed, BEAMS])
    for place in (0, 2):
        assert isinstance(results[place], GenerationFailed)
        assert isinstance(results[place].__cause__, ZeroDivisionError)
    for place, alone in ((1, expected[0]), (3, expected[1])):
        assert (results[place].token_ids, results[place].score) == (alone.token_ids, alone.score)
    assert engine.stats() == EngineStats(0, 0, 0)


def test_a_fault_in_the_model_fails_the_batch_and_the_next_one_works(
    model: Model, run_all: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(model, EngineSettings(max_batch_rows=2))

    def faulty(*_: object) -> torch.Tensor:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Model, "decode", faulty)
        ids = [engine.submit(REQUEST) for _ in range(3)]
        ends = engine.step()
    assert [end.request_id for end in ends] == ids[:2]
    assert all(isinstance(end.outcome, GenerationFailed) for end in ends)
    (last,) = (end for _ in range(8) for end in engine.step())
    (expected,) = run_all(Engine(model, EngineSettings()), [REQUEST])
    assert last.request_id == ids[2]
    assert isinstance(last.outcome, Result)
    assert last.outcome.token_ids == expected.token_ids


def test_the_same_bits_without_vnni(build_student: Any, run_all: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = build_student("mbart", "2-2-8").artifact
    fast = run_all(Engine(Model(artifact), EngineSettings()), [REQUEST, BEAMS])
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    slow = run_all(Engine(Model(artifact), EngineSettings()), [REQUEST, BEAMS])
    assert [(each.token_ids, each.score) for each in fast] == [(each.token_ids, each.score) for each in slow]


def test_loads_from_a_folder(build_student: Any, run_all: Any) -> None:
    artifact = build_student("mbart", "4-4-8").artifact
    results = [run_all(engine, [BEAMS]) for engine in (load_engine(artifact.path, EngineSettings()), _over(artifact))]
    assert results[0][0].token_ids == results[1][0].token_ids


def test_loading_what_is_no_artifact_fails(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="missing"):
        load_engine(tmp_path, EngineSettings())


def test_an_unknown_activation_is_named(build_student: Any) -> None:
    artifact = build_student("bart", "2-2-8").artifact
    odd = replace(artifact, architecture=replace(artifact.architecture, activation_function="swish"))
    with pytest.raises(UnsupportedModel, match="activation_function is 'swish', supported are gelu, relu"):
        Model(odd)


def test_needs_no_transformers() -> None:
    """The serving image does not have to load it."""
    program = "import sys, serving.engine.async_engine; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def _over(artifact: Artifact) -> Engine:
    return Engine(Model(artifact), EngineSettings())
