"""Which package may import which: `quant` stands alone, `compress` and `serving` share it and never meet."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imported(folder: str) -> dict[str, set[str]]:
    """Top-level packages that each module under `folder` imports, at the top or inside a function."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        names: list[str] = []
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names.append(node.module or "" if node.level == 0 else folder.replace("/", "."))
        found[str(path.relative_to(ROOT))] = {name.split(".")[0] for name in names}
    assert any(found.values()), f"{folder} has no module that imports anything"
    return found


def test_quant_needs_torch_and_safetensors_only() -> None:
    accepted = {"quant", "torch", "safetensors"} | sys.stdlib_module_names
    assert {path: names - accepted for path, names in imported("quant").items() if names - accepted} == {}


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("compress", {"serving", "ray", "fastapi", "grpc", "protos"}),
        ("serving", {"compress", "transformers", "datasets", "accelerate"}),
        ("serving/engine", {"tokenizers", "fastapi", "ray", "grpc", "pydantic", "pydantic_settings", "protos", "starlette"}),
    ],
)
def test_who_never_imports_whom(folder: str, forbidden: set[str]) -> None:
    assert {path: names & forbidden for path, names in imported(folder).items() if names & forbidden} == {}
