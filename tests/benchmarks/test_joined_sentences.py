from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks.joined_sentences import joined, main, measure
from tests.serving.conftest import write_tiny_artifact


def test_sentences_are_joined_in_their_order() -> None:
    assert joined(["a", "b", "c"], 2) == ["a b", "c"]
    assert joined(["a", "b"], 1) == ["a", "b"]


def test_every_way_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = write_tiny_artifact(tmp_path / "translator", "translator")
    pairs = [("good morning.", "guten morgen"), ("how are you.", "wie geht es dir")] * 2
    found = asyncio.run(measure(artifact, pairs, "en_XX", "de_DE", (1, 2)))
    assert [(each.joined, each.truncation) for each in found] == [(1, "error"), (1, "chunk"), (2, "error"), (2, "chunk")]
    # One sentence is read alike either way; of two, both are answered only one by one.
    assert (found[0].chrf, found[0].length) == (found[1].chrf, found[1].length)
    assert found[3].length > found[2].length > 0

    data = tmp_path / "test.jsonl"
    data.write_text("".join(json.dumps({"source": source, "target": target}) + "\n" for source, target in pairs))
    main(str(artifact), str(data), "en_XX", "de_DE", "2")
    assert "by sentences" in capsys.readouterr().out
