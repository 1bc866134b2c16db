"""Pairs of German and English, in either direction, as a user asks for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipelines.augment.test_run_augment import augment, written

ROWS = [
    {"source": "Tom hat drei Hunde.", "target": "Tom has three dogs."},
    {"source": "Der Mann schläft.", "target": "The man sleeps."},
]


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def test_copies_joined_texts_and_sentences(pairs: str, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    arguments = ["--task", "translation", "--source", pairs, "--output", str(output)]
    assert augment(*arguments) == 0
    assert written(output) == ROWS
    altering = ["--rename", "1", "--renumber", "1", "--unended", "1", "--joined", "5", "--composed", "7", "--seed", "3"]
    assert augment(*arguments, "--copies", "2", *altering) == 0
    rows = written(output)
    assert len(rows) == 2 * 2 + 5 + 7
    assert not any("Tom" in row["source"] or "drei" in row["source"] for row in rows[:4])
    assert rows[1] == {"source": "Der Mann schläft", "target": "The man sleeps"}
    assert augment(*arguments, "--copies", "2", *altering) == 0
    assert written(output) == rows


def test_from_english(pairs: str, tmp_path: Path) -> None:
    there, back = tmp_path / "there.jsonl", tmp_path / "back.jsonl"
    making = ["--task", "translation", "--source", pairs, "--rename", "1", "--joined", "3", "--composed", "3"]
    assert augment(*making, "--output", str(there)) == 0
    columns = ["--source-field", "target", "--target-field", "source", "--source-language", "en", "--target-language", "de"]
    assert augment(*making, *columns, "--output", str(back)) == 0
    assert [{"source": row["target"], "target": row["source"]} for row in written(back)] == written(there)


def test_what_is_refused(pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--task", "translation", "--source", pairs, "--output", str(tmp_path / "out.jsonl")]
    assert augment(*arguments, "--source-language", "fr_XX", "--shuffle", "1") == 1
    error = capsys.readouterr().err
    assert "--source-language fr_XX, --target-language en_XX: German and English are known" in error
    assert "--shuffle is of question-answering: --task is translation" in error
    assert augment(*arguments, "--joined", "1", "--joined-words", "1") == 1
    assert "no texts of at most 1 words can be joined" in capsys.readouterr().err
