"""Requests of all kinds come and go at any step, within tight limits: each is answered as if alone, and nothing leaks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from serving.engine.engine import Emitted, Engine, EngineStats, Finished
from serving.engine.errors import EngineFull
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.runner import Runner, Source
from serving.engine.search import rows_of
from serving.engine.settings import EngineSettings

GREEDY: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({})
BEAMS: st.SearchStrategy[dict[str, Any]] = st.integers(2, 4).flatmap(
    lambda beams: st.fixed_dictionaries(
        {
            "num_beams": st.just(beams),
            "num_return_sequences": st.integers(1, beams),
            "early_stopping": st.sampled_from([False, True, "never"]),
        }
    )
)
DRAWS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "do_sample": st.just(True),
        "num_return_sequences": st.integers(1, 3),
        "temperature": st.sampled_from([0.5, 1.0, 2.0]),
        "top_k": st.sampled_from([0, 1, 4]),
        "top_p": st.sampled_from([0.6, 1.0]),
        "seed": st.integers(0, 2**63 - 1),
    }
)
OFTEN_NOT: dict[str, st.SearchStrategy[Any]] = {
    "length_penalty": st.sampled_from([1.0, 0.0, 2.0, -1.0]),
    "no_repeat_ngram_size": st.sampled_from([0, 1, 2]),
    "repetition_penalty": st.sampled_from([1.0, 1.3]),
    "encoder_no_repeat_ngram_size": st.sampled_from([0, 1, 2]),
    "bad_words_ids": st.just(((9,), (7, 30), (50, 60, 70))),
    "forced_bos_token_id": st.sampled_from([None, 7]),
    "forced_eos_token_id": st.sampled_from([None, 2]),
}


@dataclass(frozen=True)
class Visit:
    """A request, the step before which it is submitted, and the steps after which its client leaves (None: stays)."""

    request: Request
    arrives: int
    stays: int | None


@st.composite
def visits(draw: st.DrawFn) -> Visit:
    longest = draw(st.sampled_from([1, 2, 5, 8, 12]))
    parameters = GenerationParameters(
        max_new_tokens=longest,
        min_new_tokens=draw(st.integers(0, longest)),
        decoder_start_token_id=2,
        eos_token_ids=draw(st.sampled_from([(2,), (2, 60, 61, 62)])),
        return_scores=True,
        **draw(st.one_of(GREEDY, BEAMS, DRAWS)),
        **draw(st.fixed_dictionaries({}, optional=OFTEN_NOT)),
    )
    length = draw(st.sampled_from([1, 2, 5, 15, 16, 17, 33, 60]))
    source = (*draw(st.lists(st.integers(4, 202), min_size=length - 1, max_size=length - 1)), 2)
    streams = parameters.num_return_sequences == 1 and draw(st.booleans())
    stays = draw(st.sampled_from([None, None, None, 0, 1, 1, 2, 3, 6]))
    return Visit(Request(source, parameters, streams), draw(st.integers(0, 6)), stays)


def limits(runner: Runner, crowd: list[Visit], draw_settings: dict[str, int]) -> EngineSettings:
    """Settings under which the largest request just fits."""
    rows = max(rows_of(visit.request.parameters) for visit in crowd)
    sources = [
        Source(visit.request.source_ids, rows_of(visit.request.parameters), visit.request.parameters.max_new_tokens)
        for visit in crowd
    ]
    cache_bytes = max(runner.cache_bytes(source, source.positions) for source in sources)
    return EngineSettings(
        max_batch_rows=rows + draw_settings.pop("more_rows"),
        max_cache_bytes=cache_bytes + draw_settings.pop("more_cache_bytes"),
        **draw_settings,
    )


class Traffic:
    """Runs visits through an engine, checking at each step what holds at each step."""

    def __init__(self, runner: Runner, crowd: list[Visit], engine_settings: EngineSettings) -> None:
        self.runner = runner
        self.settings = engine_settings
        self.engine = Engine(runner, engine_settings)
        self.to_come = sorted(crowd, key=lambda visit: visit.arrives)
        self.here: dict[int, tuple[Visit, int]] = {}
        self.left: set[int] = set()
        self.streamed: dict[int, tuple[int, ...]] = {}
        self.answers: list[tuple[Visit, Result]] = []

    def run(self) -> None:
        step = 0
        while self.to_come or self.engine.has_work:
            self._arrive(step)
            self._leave(step)
            for each in self.engine.step():
                self._note(each)
            stats = self.engine.stats()
            # Of those who left no row is there any more.
            assert self.runner.rows <= sum(rows_of(visit.request.parameters) for visit, _ in self.here.values())
            assert self.runner.rows <= self.settings.max_batch_rows
            assert stats.cache_bytes <= self.settings.max_cache_bytes
            assert stats.queued_requests <= self.settings.max_queued_requests + stats.set_back_requests
            step += 1
            # Every step decodes, or encodes a layer of something.
            assert step < 500

    def _arrive(self, step: int) -> None:
        while self.to_come and self.to_come[0].arrives <= step:
            try:
                request_id = self.engine.submit(self.to_come[0].request)
            except EngineFull:
                return
            self.here[request_id] = (self.to_come.pop(0), step)

    def _leave(self, step: int) -> None:
        for request_id, (visit, arrived) in list(self.here.items()):
            if visit.stays is not None and step >= arrived + visit.stays:
                self.engine.cancel(request_id)
                self.left.add(request_id)
                del self.here[request_id]

    def _note(self, each: Emitted | Finished) -> None:
        assert each.request_id not in self.left
        visit, _ = self.here[each.request_id]
        if isinstance(each, Emitted):
            assert visit.request.stream
            assert each.token_ids
            self.streamed[each.request_id] = self.streamed.get(each.request_id, ()) + each.token_ids
            return
        assert isinstance(each.outcome, Result), each.outcome
        if visit.request.stream:
            assert self.streamed[each.request_id] == each.outcome.sequences[0].token_ids
        self.answers.append((visit, each.outcome))
        del self.here[each.request_id]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    crowd=st.lists(visits(), min_size=6, max_size=12),
    draw_settings=st.fixed_dictionaries(
        {
            "more_rows": st.sampled_from([0, 4, 20]),
            "more_cache_bytes": st.sampled_from([0, 50_000, 500_000]),
            "max_queued_requests": st.integers(1, 8),
            "max_encode_tokens": st.sampled_from([1, 64, 4096]),
            "encode_tokens_per_step": st.sampled_from([1, 1, 32, 512]),
        }
    ),
)
@pytest.mark.parametrize("architecture", ["bart", "mbart"])
def test_everyone_is_answered_as_if_alone(
    architecture: str, crowd: list[Visit], draw_settings: dict[str, int], build_student: Any, build_runner: Any, run_all: Any
) -> None:
    runner = build_runner(build_student(architecture, "2-2-8").artifact)
    traffic = Traffic(runner, crowd, limits(runner, crowd, dict(draw_settings)))
    traffic.run()
    event(f"answered {len(traffic.answers)}, left {len(traffic.left)}")
    assert len(traffic.answers) + len(traffic.left) == len(crowd)
    assert not traffic.here
    assert runner.rows == 0
    final = replace(traffic.engine.stats(), longest_stall_seconds=0.0, set_back_requests=0)
    assert final == EngineStats(max_cache_bytes=traffic.settings.max_cache_bytes)
    for visit, result in traffic.answers:
        (alone,) = run_all(Engine(runner, EngineSettings()), [replace(visit.request, stream=False)])
        assert result.sequences == alone.sequences
