"""Which package may import which: `quant` stands alone, `compress` and `serving` share it and never meet."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

EXCEPTIONS = {"compress/training/workers.py": {"ray"}}
"""Module → what it alone of its folder may import."""


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
    """But for the modules that are there for `transformers`, and for the tokenizer that both halves open."""
    accepted = {"quant", "torch", "safetensors"} | sys.stdlib_module_names
    further = {path: names - accepted for path, names in imported("quant").items() if names - accepted}
    assert further == {"quant/hf.py": {"transformers"}, "quant/tokenizer_file.py": {"tokenizers"}}


@pytest.mark.parametrize("folder", ["quant", "serving"])
def test_what_serves_does_not_import_the_module_for_transformers(folder: str) -> None:
    importing = [path for path in (ROOT / folder).rglob("*.py") if "quant.hf" in path.read_text(encoding="utf-8")]
    assert [path for path in importing if path != ROOT / "quant" / "hf.py"] == []


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("benchmarks", {"pipelines"}),
        ("compress", {"pipelines", "serving", "ray", "fastapi", "grpc", "protos"}),
        ("serving", {"pipelines", "compress", "transformers", "datasets", "accelerate"}),
        ("serving/engine", {"tokenizers", "fastapi", "ray", "grpc", "pydantic", "pydantic_settings", "protos", "starlette"}),
    ],
)
def test_who_never_imports_whom(folder: str, forbidden: set[str]) -> None:
    found = {path: names & forbidden - EXCEPTIONS.get(path, set()) for path, names in imported(folder).items()}
    assert {path: names for path, names in found.items() if names} == {}
