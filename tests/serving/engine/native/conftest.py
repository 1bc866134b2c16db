"""Tests of the kernels run where the kernels do."""

from __future__ import annotations

import pytest

from serving.engine.native.library import UnavailableError, kernels


@pytest.fixture(autouse=True)
def needs_kernels() -> None:
    try:
        kernels()
    except UnavailableError as error:
        pytest.skip(f"no native kernels: {error}")
