from __future__ import annotations

from typing import Any

import pytest

from serving.engine.settings import EngineSettings


@pytest.mark.parametrize("value", [0, -1, 2.0, "8", True])
@pytest.mark.parametrize("name", ["max_batch_rows", "max_queued_requests", "max_encode_tokens"])
def test_bad_limits_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        EngineSettings(**{name: value})
