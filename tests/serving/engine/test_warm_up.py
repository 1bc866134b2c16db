"""The first request finds what later ones find, and nothing is left of what went before it."""

from __future__ import annotations

from typing import Any

import pytest

from serving.engine.engine import Engine, EngineStats, load_engine
from serving.engine.request import GenerationParameters, Request
from serving.engine.settings import EngineSettings
from serving.engine.warm_up import warm_up

PARAMETERS = GenerationParameters(max_new_tokens=8, decoder_start_token_id=2, eos_token_ids=(2,), num_beams=2)


@pytest.mark.parametrize("limits", [{}, {"max_batch_rows": 2}, {"max_cache_bytes": 1}])
def test_a_runner_is_as_it_was(limits: dict[str, int], build_student: Any, build_runner: Any, run_all: Any) -> None:
    """Also where the settings take no beams, or nothing at all."""
    artifact = build_student("mbart", "2-2-8").artifact
    request = Request(tuple(range(4, 40)), PARAMETERS)
    cold, warm = build_runner(artifact), build_runner(artifact)
    warm_up(Engine(warm, EngineSettings(**limits)))
    assert warm.rows == 0
    (expected,), (found,) = (run_all(Engine(runner, EngineSettings()), [request]) for runner in (cold, warm))
    assert found.sequences == expected.sequences


@pytest.mark.parametrize("name", ["pytorch", "native"])
def test_every_kind_of_search_was_run_before_an_engine_takes_requests(
    name: Any, build_student: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greedy, beams, and draws among all tokens and among a few; nothing of it is counted."""
    asked = []
    submit = Engine.submit
    monkeypatch.setattr(
        Engine, "submit", lambda engine, request: asked.append(request.parameters) or submit(engine, request)
    )
    engine = load_engine(build_student("bart", "2-2-8").artifact.path, EngineSettings(), name)
    assert [(each.num_beams > 1, each.do_sample, each.top_k > 0) for each in asked] == [
        (False, False, False),
        (True, False, False),
        (False, True, False),
        (False, True, True),
    ]
    assert engine.stats() == EngineStats(max_cache_bytes=EngineSettings.max_cache_bytes)
