from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from serving.engine.native import library


@pytest.fixture(autouse=True)
def instruction_set() -> Iterator[None]:
    """Unlike the other tests of the kernels, these need none; and what they put in place of them must not stay."""
    library.kernels.cache_clear()
    yield
    library.kernels.cache_clear()


def test_says_that_the_kernels_were_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "BUILT", "no such file")
    with pytest.raises(library.UnavailableError, match=r"not built: installing the package needs g\+\+"):
        library.kernels()


def test_says_what_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "_kernels_avx2.so").write_bytes(b"no library")
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    with pytest.raises(library.UnavailableError, match=r"_kernels_avx2\.so cannot be loaded"):
        library.kernels()


@pytest.mark.parametrize(
    ("supported", "taken"), [({"avx2", "avx512"}, "avx512"), ({"avx2"}, "avx2"), ({"avx512"}, "avx512"), (set(), None)]
)
def test_the_best_that_the_cpu_has_is_taken(supported: set[str], taken: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    built = {name: SimpleNamespace(dq_supported=lambda name=name: name in supported) for name in library.INSTRUCTION_SETS}
    monkeypatch.setattr(library, "built_for", built.get)
    if taken is not None:
        assert library.kernels() is built[taken]
        return
    with pytest.raises(library.UnavailableError, match="this CPU has neither AVX-512 VNNI nor AVX2"):
        library.kernels()


def test_what_is_not_built_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    avx2 = SimpleNamespace(dq_supported=lambda: True)
    monkeypatch.setattr(library, "built_for", {"avx2": avx2}.get)
    assert library.kernels() is avx2
