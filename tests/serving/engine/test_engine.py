"""The life of a request. What is generated is tested in the files about generate and batches, faults in one of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from quant.artifact import ArtifactError
from serving.engine.engine import Emitted, Engine, EngineStats, Finished, load_engine
from serving.engine.errors import EngineFull, InvalidRequest
from serving.engine.pytorch.model import Model
from serving.engine.pytorch.runner import PyTorchRunner
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.runner import Candidates, Source
from serving.engine.settings import EngineSettings

PARAMETERS = GenerationParameters(
    max_new_tokens=8, min_new_tokens=8, decoder_start_token_id=2, eos_token_ids=(2,), return_scores=True
)
REQUEST = Request((5, 6, 7, 2), PARAMETERS)
BEAMS = replace(REQUEST, parameters=replace(PARAMETERS, num_beams=3))
DRAWS = replace(REQUEST, parameters=replace(PARAMETERS, do_sample=True, num_return_sequences=3))
LONG = replace(REQUEST, source_ids=(*range(5, 45), 2))


class WatchedRunner(PyTorchRunner):
    """Writes down what it is told to do."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.calls: list[str] = []
        self.while_encoding: Callable[[], None] = lambda: None

    def begin(self, sources: Sequence[Source]) -> None:
        self.calls.append(f"begin {len(sources)}")
        super().begin(sources)

    def encode(self, layers: int) -> bool:
        self.calls.append(f"encode {layers}")
        self.while_encoding()
        return super().encode(layers)

    def abandon(self) -> None:
        self.calls.append("abandon")
        super().abandon()

    def decode(self, tokens: Sequence[int], wanted: Any) -> list[Candidates]:
        self.calls.append(f"decode {len(tokens)}")
        return super().decode(tokens, wanted)


@pytest.fixture
def runner(build_student: Any) -> WatchedRunner:
    return WatchedRunner(Model(build_student("bart", "2-2-8").artifact))


def stats(queued: int = 0, running: int = 0, rows: int = 0) -> tuple[int, int, int]:
    return queued, running, rows


def seen(engine: Engine) -> tuple[int, int, int]:
    now = engine.stats()
    return now.queued_requests, now.running_requests, now.batch_rows


def contents(outcome: Result | Exception) -> object:
    assert isinstance(outcome, Result), outcome
    return outcome.sequences


def test_a_request_joins_at_the_next_step_and_leaves_when_finished(runner: PyTorchRunner) -> None:
    engine = Engine(runner, EngineSettings())
    first = engine.submit(REQUEST)
    assert seen(engine) == stats(queued=1)
    assert engine.step() == []
    assert seen(engine) == stats(running=1, rows=1)
    second = engine.submit(BEAMS)
    ends: dict[int, int] = {}
    for step in range(2, 11):
        ends |= {end.request_id: step for end in engine.step()}
        if step == 3:
            assert engine.stats().batch_rows == 4
    assert ends == {first: 8, second: 9}
    assert seen(engine) == stats()
    assert runner.rows == 0
    assert not engine.has_work


def test_the_result_tells_ids_scores_and_times(runner: PyTorchRunner, run_all: Any) -> None:
    result, several = run_all(Engine(runner, EngineSettings()), [REQUEST, DRAWS])
    assert isinstance(result, Result)
    (sequence,) = result.sequences
    assert len(sequence.token_ids) == len(sequence.token_log_probabilities) == 8
    assert sequence.score == pytest.approx(sum(sequence.token_log_probabilities) / 8)
    assert min(result.queue_seconds, result.encode_seconds, result.decode_seconds) > 0
    encoded = result.queue_seconds + result.encode_seconds
    assert encoded < result.first_token_seconds < encoded + result.decode_seconds
    assert len({each.token_ids for each in several.sequences}) == 3


def test_refuses_what_the_settings_cannot_hold(runner: PyTorchRunner) -> None:
    engine = Engine(runner, EngineSettings(max_batch_rows=2, max_queued_requests=1))
    with pytest.raises(InvalidRequest, match="num_beams is 3, accepted are whole numbers from 1 to 2"):
        engine.submit(BEAMS)
    engine.submit(REQUEST)
    with pytest.raises(EngineFull):
        engine.submit(REQUEST)
    assert engine.stats().queued_requests == 1


def test_refuses_more_cache_than_there_may_be(runner: PyTorchRunner) -> None:
    """16 source and 16 decoder positions of 320 bytes for one row, two times as many more for three."""
    engine = Engine(runner, EngineSettings(max_cache_bytes=10240))
    engine.submit(REQUEST)
    with pytest.raises(InvalidRequest, match="may take 20480 bytes, max_cache_bytes is 10240"):
        engine.submit(BEAMS)
    with pytest.raises(InvalidRequest, match="may take 20480 bytes, max_cache_bytes is 10240"):
        engine.submit(DRAWS)
    assert engine.stats().queued_requests == 1


def test_waits_for_rows(runner: PyTorchRunner) -> None:
    engine = Engine(runner, EngineSettings(max_batch_rows=3))
    engine.submit(BEAMS)
    engine.submit(REQUEST)
    for _ in range(8):
        engine.step()
        assert engine.stats().queued_requests == 1
    engine.step()
    assert seen(engine) == stats(running=1, rows=1)


def test_waits_for_cache_memory(runner: PyTorchRunner) -> None:
    engine = Engine(runner, EngineSettings(max_cache_bytes=20480))
    for request in (REQUEST, REQUEST, REQUEST):
        engine.submit(request)
    assert engine.stats() == EngineStats(queued_requests=3, max_cache_bytes=20480)
    for _ in range(7):
        engine.step()
        assert (engine.stats().queued_requests, engine.stats().cache_bytes) == (1, 20480)
    engine.step()
    assert (engine.stats().queued_requests, engine.stats().cache_bytes) == (1, 0)
    engine.step()
    assert (engine.stats().queued_requests, engine.stats().cache_bytes) == (0, 10240)


def test_a_long_source_is_encoded_between_decode_steps(runner: WatchedRunner) -> None:
    """41 tokens are padded to 48, so that 24 a step are one of two layers; who arrives meanwhile waits."""
    engine = Engine(runner, EngineSettings(encode_tokens_per_step=24))
    engine.submit(REQUEST)
    engine.step()
    assert engine.stats().longest_stall_seconds == 0
    engine.submit(LONG)
    engine.step()
    engine.submit(REQUEST)
    assert seen(engine) == stats(queued=1, running=2, rows=1)
    engine.step()
    assert seen(engine) == stats(queued=1, running=2, rows=2)
    engine.step()
    assert runner.calls == [
        *("begin 1", "encode 2", "decode 1"),
        *("begin 1", "encode 1", "decode 1"),
        *("encode 1", "decode 2"),
        *("begin 1", "encode 2", "decode 3"),
    ]
    assert engine.stats().longest_stall_seconds > 0


def test_a_long_source_is_encoded_at_once_when_nobody_waits(runner: WatchedRunner) -> None:
    engine = Engine(runner, EngineSettings(encode_tokens_per_step=1))
    engine.submit(LONG)
    engine.step()
    assert runner.calls == ["begin 1", "encode 2", "decode 1"]
    assert engine.stats().longest_stall_seconds == 0


def test_streams_tokens_as_they_are_generated(runner: PyTorchRunner) -> None:
    engine = Engine(runner, EngineSettings())
    silent, streaming = engine.submit(REQUEST), engine.submit(replace(REQUEST, stream=True))
    steps = [engine.step() for _ in range(8)]
    assert [len(events) for events in steps] == [1] * 7 + [3]
    emitted = [event for events in steps for event in events if isinstance(event, Emitted)]
    assert {event.request_id for event in emitted} == {streaming}
    ends = [event for event in steps[-1] if isinstance(event, Finished)]
    assert [event.request_id for event in ends] == [silent, streaming]
    assert isinstance(ends[1].outcome, Result)
    assert sum((event.token_ids for event in emitted), ()) == ends[1].outcome.sequences[0].token_ids


def test_cancelled_requests_are_gone_by_the_next_step(runner: PyTorchRunner) -> None:
    engine = Engine(runner, EngineSettings(max_batch_rows=4))
    running, queued, other = engine.submit(BEAMS), engine.submit(BEAMS), engine.submit(REQUEST)
    engine.step()
    engine.cancel(queued)
    assert seen(engine) == stats(queued=1, running=1, rows=1)
    engine.cancel(running)
    engine.step()
    assert seen(engine) == stats(running=1, rows=1)
    ends = [end.request_id for _ in range(7) for end in engine.step()]
    assert ends == [other]


def test_what_is_being_encoded_is_abandoned_when_all_of_it_is_cancelled(runner: WatchedRunner) -> None:
    engine = Engine(runner, EngineSettings(encode_tokens_per_step=1))
    engine.submit(REQUEST)
    engine.step()
    long = engine.submit(LONG)
    engine.step()
    engine.cancel(long)
    next_one = engine.submit(REQUEST)
    runner.calls.clear()
    engine.step()
    engine.step()
    assert runner.calls == ["abandon", "begin 1", "encode 1", "decode 1", "encode 1", "decode 2"]
    assert next_one in [end.request_id for _ in range(8) for end in engine.step()]
    assert seen(engine) == stats()


def test_who_is_cancelled_while_being_encoded_with_others_is_never_decoded(runner: WatchedRunner) -> None:
    engine = Engine(runner, EngineSettings())
    cancelled, other = engine.submit(LONG), engine.submit(LONG)
    runner.while_encoding = lambda: engine.cancel(cancelled)
    engine.step()
    assert runner.calls == ["begin 2", "encode 2", "decode 1"]
    ends = [end.request_id for _ in range(8) for end in engine.step()]
    assert ends == [other]
    assert seen(engine) == stats()


def test_cancelling_what_is_finished_or_unknown_changes_nothing(runner: PyTorchRunner, run_all: Any) -> None:
    engine = Engine(runner, EngineSettings())
    run_all(engine, [REQUEST])
    engine.cancel(0)
    engine.cancel(99)
    assert len(run_all(engine, [REQUEST])) == 1


def test_the_same_bits_without_vnni(build_student: Any, run_all: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = build_student("mbart", "2-2-8").artifact
    fast = run_all(Engine(PyTorchRunner(Model(artifact)), EngineSettings()), [REQUEST, BEAMS])
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    slow = run_all(Engine(PyTorchRunner(Model(artifact)), EngineSettings()), [REQUEST, BEAMS])
    assert [contents(each) for each in fast] == [contents(each) for each in slow]


def test_loads_from_a_folder(build_student: Any, run_all: Any) -> None:
    artifact = build_student("mbart", "4-4-8").artifact
    (loaded,) = run_all(load_engine(artifact.path, EngineSettings(), "pytorch"), [BEAMS])
    (expected,) = run_all(Engine(PyTorchRunner(Model(artifact)), EngineSettings()), [BEAMS])
    assert contents(loaded) == contents(expected)


def test_loading_what_is_no_artifact_fails(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="missing"):
        load_engine(tmp_path, EngineSettings())


def test_needs_no_transformers() -> None:
    """The serving image does not have to load it."""
    program = "import sys, serving.engine.async_engine; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
