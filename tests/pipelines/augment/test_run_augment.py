"""The command as a user types it."""

import json
from pathlib import Path

import pytest

from dqbart.cli import run_command
from pipelines.augment.commands import Augment

ROWS = [
    {
        "question": "What did Cleo do?",
        "context": "Cleo Varga was born in Sopron. Then she went to sea in 1911. Her ship sank near Malta twice.",
        "answer": "Then she went to sea in 1911. Her ship sank near Malta twice.",
    },
    {
        "question": "Who was kind?",
        "context": "A crow flew over the wide valley. An old miller was kind to it. Snow fell on all the hills that night.",
        "answer": "miller",
    },
]


def augment(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        run_command(Augment, "augment", list(arguments))
    return int(stopped.value.code or 0)


def written(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def answers(tmp_path: Path) -> str:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def test_copies_are_altered_each_by_draws_of_its_own_and_the_same_again_by_the_same_seed(answers, tmp_path: Path) -> None:
    arguments = ["--task", "question-answering", "--source", answers, "--copies", "3"]
    altering = [
        "--shuffle",
        "1",
        "--crop",
        "1",
        "--crop-words",
        "8,14",
        "--made-up",
        "1",
        "--made-up-words",
        "1",
        "--kept-words",
        "3",
    ]
    assert augment(*arguments, "--output", str(tmp_path / "plain.jsonl")) == 0
    assert written(tmp_path / "plain.jsonl") == ROWS * 3
    for name in ("first", "again"):
        assert augment(*arguments, *altering, "--output", str(tmp_path / name)) == 0
    first = written(tmp_path / "first")
    assert first == written(tmp_path / "again")
    assert len({row["context"] for row in first}) == 6
    assert all(row["answer"] in row["context"] for row in first[::2])  # whole sentences, with the same words made up
    assert all("miller" not in row["context"] and len(row["context"].split()) <= 14 for row in first[1::2])
    assert augment(*arguments, *altering, "--seed", "1", "--output", str(tmp_path / "other")) == 0
    assert first != written(tmp_path / "other")


def test_questions_are_made_of_texts_of_any_column(answers, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        json.dumps({"source": "Hens lay brown eggs at noon. Ducks dislike the frozen pond. Geese hiss at every stranger."})
    )
    output = tmp_path / "questions.jsonl"
    arguments = ["--task", "question-answering", "--source", answers, "--source", str(texts), "--output", str(output)]
    assert augment(*arguments, "--questions", "20") == 0
    rows = written(output)
    assert len(rows) == 20
    whole = " ".join([*(row["context"] for row in ROWS), json.loads(texts.read_text())["source"]])
    assert all(row["answer"] in row["context"] and row["context"] in whole for row in rows)
    assert augment(*arguments, "--questions", "20", "--question-sentences", "2,3", "--fragment-words", "3,4") == 0
    for row in written(output):
        assert row["answer"] in row["context"]
        assert 3 <= len(row["answer"].split()) <= 4
        assert len(row["context"].split()) <= 12


def test_what_no_question_can_be_made_of_is_said(tmp_path: Path, capsys) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "Too short."}\n')
    arguments = ["--task", "question-answering", "--source", str(texts), "--output", str(tmp_path / "out.jsonl")]
    assert augment(*arguments, "--questions", "1") == 1
    assert "no question can be made" in capsys.readouterr().err
    assert augment(*arguments, "--questions", "1", "--context-field", "body") == 1
    assert "no column body: it has text" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


def test_summaries_with_prefixes_and_of_sentences(tmp_path: Path) -> None:
    source = tmp_path / "papers.jsonl"
    row = {"source": "Parsing is old. We parse treebanks with graphs. Weather was fine.", "target": "Graphs parse treebanks"}
    source.write_text(json.dumps(row) + "\n")
    output = tmp_path / "out.jsonl"
    arguments = ["--task", "summarization", "--source", str(source), "--output", str(output)]
    assert augment(*arguments, "--copies", "40", "--prefix", "title: ") == 0
    sources = [each["source"] for each in written(output)]
    assert set(sources) == {row["source"], f"title: {row['source']}"}
    assert 10 < sources.count(row["source"]) < 30
    assert augment(*arguments, "--gap-sentences", "--prefix", "tldr: ", "--prefix-share", "1") == 0
    assert written(output) == [{"source": f"tldr: {row['source']}", "target": "We parse treebanks with graphs."}]


def test_flags_of_another_task_are_refused_all_at_once(answers, tmp_path: Path, capsys) -> None:
    arguments = ["--task", "question-answering", "--source", answers, "--output", str(tmp_path / "out.jsonl")]
    assert (
        augment(*arguments, "--prefix", "tldr: ", "--gap-sentences", "--crop-words", "9,3", "--fragment-words", "2,3") == 1
    )
    error = capsys.readouterr().err
    assert "--prefix is of summarization: --task is question-answering" in error
    assert "--gap-sentences is of summarization" in error
    assert "--fragment-words is of made questions: give --questions too" in error
    assert "--crop-words = 9,3: the least first" in error
