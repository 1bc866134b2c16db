from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from serving.engine.settings import EngineSettings


@pytest.mark.parametrize("value", [0, -1, 2.0, "8", True])
@pytest.mark.parametrize("name", [field.name for field in fields(EngineSettings) if field.name != "packed_folder"])
def test_bad_limits_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        EngineSettings(**{name: value})


@pytest.mark.parametrize("value", ["", None, 1])
def test_a_folder_is_a_text(value: Any) -> None:
    with pytest.raises(ValueError, match=r"packed_folder is .*, a folder, auto or none is expected"):
        EngineSettings(packed_folder=value)
