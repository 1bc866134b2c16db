"""The tiny artifacts, loaded: once for the tests that leave them as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dqbart import Model, load


@pytest.fixture(scope="module")
def translator(artifacts: dict[str, Path]) -> Iterator[Model]:
    with load(artifacts["translator"], max_batch_rows=8, max_queued_requests=4) as model:
        yield model


@pytest.fixture(scope="module")
def summarizer(artifacts: dict[str, Path]) -> Iterator[Model]:
    with load(artifacts["summarizer"], max_batch_rows=8) as model:
        yield model


@pytest.fixture(scope="module")
def answerer(artifacts: dict[str, Path]) -> Iterator[Model]:
    with load(artifacts["answerer"], max_batch_rows=8) as model:
        yield model
