"""What `dqbart` is to a program."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import dqbart

ROOT = Path(__file__).parents[2]


def test_everything_named_is_there() -> None:
    for name in dqbart.__all__:
        assert getattr(dqbart, name) is not None
    assert set(dqbart.__all__) <= set(dir(dqbart))
    with pytest.raises(AttributeError, match="module 'dqbart' has no attribute 'lod'"):
        dqbart.lod  # noqa: B018


def test_errors_are_one_family() -> None:
    named = [getattr(dqbart, name) for name in dqbart.__all__]
    errors = [each for each in named if inspect.isclass(each) and issubclass(each, Exception)]
    assert len(errors) > 4
    assert [each for each in errors if not issubclass(each, dqbart.Error)] == []


def test_importing_it_loads_nothing() -> None:
    program = "import sys, dqbart; print(sorted({'torch', 'pydantic', 'numpy', 'typer'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("package", ["dqbart", "quant", "serving"])
def test_its_types_are_told(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
