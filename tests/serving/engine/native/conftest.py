"""Tests of the kernels run with each instruction set that this CPU has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.engine.native import library


@pytest.fixture(autouse=True, params=library.INSTRUCTION_SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    name: str = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "INSTRUCTION_SETS", (name,))
        library.kernels.cache_clear()
        try:
            library.kernels()
        except library.UnavailableError as error:
            pytest.skip(f"no native kernels for {name}: {error}")
        yield name
    library.kernels.cache_clear()
