"""Costs found on a real, tiny engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.capacity.calibration import calibrate, engine_requests
from benchmarks.capacity.texts import COUNT, asked_of
from benchmarks.commands import shipped_models
from serving.engine.settings import EngineSettings
from serving.service.models import check_model

SETTINGS = EngineSettings(max_batch_rows=8)


@pytest.mark.parametrize("folder", shipped_models(), ids=lambda folder: folder.name)
def test_the_texts_are_what_a_model_takes(folder: Path) -> None:
    model = check_model(folder.name, folder, 64)
    asked = asked_of(folder.name, model.card)
    lengths = [len(request.source_ids) for request in engine_requests(asked, model, 64)]
    assert len(lengths) == len(asked.over_http()) == COUNT
    assert max(lengths) <= model.card.max_source_tokens
    assert asked == asked_of(folder.name, model.card)


def test_a_model_is_measured() -> None:
    folder = next(each for each in shipped_models() if "mbart" in each.name)
    found = calibrate("m", folder, 1, "auto", SETTINGS, seconds=0.05)
    works = found.costs.works
    assert len(works) == len(found.new_tokens) == COUNT
    # Beams begin as one row; the search goes on at least as long as its best output.
    assert all(work.claimed_rows == 4 and work.rows[0] == 1 and max(work.rows) <= 4 for work in works)
    assert all(len(work.rows) >= tokens - 1 for work, tokens in zip(works, found.new_tokens, strict=True))
    assert all(0 < work.cache_bytes < SETTINGS.max_cache_bytes for work in works)
    assert found.costs.encode(64) > 0
    assert found.costs.decode(4) > 0
    assert found.costs.encoder_layers == 6
