from __future__ import annotations

from pathlib import Path

import pytest

from serving.engine.native import library


@pytest.fixture(autouse=True)
def fresh() -> None:
    library.kernels.cache_clear()


def test_says_that_the_kernels_were_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "BUILT", "no such file")
    with pytest.raises(library.UnavailableError, match=r"not built: installing the package needs g\+\+"):
        library.kernels()


def test_says_what_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "_kernels.so").write_bytes(b"no library")
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    with pytest.raises(library.UnavailableError, match=r"_kernels\.so cannot be loaded"):
        library.kernels()
