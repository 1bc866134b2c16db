"""Each program decodes to exactly the tokens that are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.contestants import Specification
from benchmarks.peers import peer_settings
from benchmarks.works import Work


@pytest.mark.parametrize("work", [Work(3, 20, 1), Work(2, 9, 4)], ids=str)
@pytest.mark.parametrize("kind", ["engine", "loop", "transformers", "ctranslate2"])
def test_forced_lengths(kind: str, work: Work, tiny_student: Path, tmp_path: Path) -> None:
    if kind == "ctranslate2":
        pytest.importorskip("ctranslate2", reason="the peer CTranslate2 comes with the bench extra")
    if kind == "engine":
        specifications = [Specification("engine", "engine", tiny_student, 1, "pytorch")]
    elif kind == "loop":
        specifications = [Specification("loop", "loop", tiny_student, 1, "pytorch", models=3, busy=work.batch)]
    else:
        specifications = peer_settings(kind, tiny_student, 2, tmp_path)  # type: ignore[arg-type]
        assert len({each.name for each in specifications}) == len(specifications) > 1
    for specification in specifications:
        contestant = specification.load()
        for new_tokens in (1, 7):
            assert contestant.prepare(work, new_tokens)() == [new_tokens] * work.batch
