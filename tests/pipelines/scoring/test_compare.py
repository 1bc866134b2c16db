"""`dqbart compare` as a user types it."""

import json
import re
from pathlib import Path

import pytest

from dqbart.cli import run_command
from pipelines.scoring.compare import Compare

SHIPPED = str(Path(__file__).parents[3] / "models" / "mbart-de-en-2-4-8")
DIRECTION = ["--source-language", "de_DE", "--target-language", "en_XX"]


def compare(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        run_command(Compare, "compare", [*arguments, "--device", "cpu", "--samples", "100"])
    return int(stopped.value.code or 0)


@pytest.fixture
def references(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    row = {"source": "guten tag", "target": "tag.", "all": ["tag.", "guten tag."]}
    path.write_text("".join(json.dumps({**row, "source": f"guten tag {letter}"}) + "\n" for letter in "abcdef"))
    return str(path)


def test_two_teachers_with_several_references(teachers, references, tmp_path: Path, capsys) -> None:
    output = tmp_path / "comparison.json"
    data = ["--data", references, "--references-field", "all", "--task", "summarization", "--examples", "1"]
    assert compare(teachers["bart"], teachers["mbart50"], *data, "--json-file", str(output)) == 0
    shown = capsys.readouterr().out
    record = json.loads(output.read_text())
    assert (record["teacher"], record["student"], record["examples"], record["references"]) == ("bart", "mbart50", 6, 2)
    assert set(record["scores"]) == {"ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum"}
    assert len(record["changed"]) == 6
    assert shown.count("│ reference │") == 2
    assert record["changed"][0]["teacher_output"] in shown


def test_what_a_teacher_is_not_told_the_artifact_says(teachers, pairs, tmp_path: Path, capsys) -> None:
    output = tmp_path / "comparison.json"
    arguments = ["--data", pairs, "--limit", "2", *DIRECTION, "--max-source-tokens", "64", "--json-file", str(output)]
    flags = ["--num-beams", "1", "--max-new-tokens", "5", "--check-generate", "1"]
    assert compare(teachers["mbart50"], SHIPPED, *arguments, *flags) == 0
    shown = capsys.readouterr().out
    assert "teacher: decoded by generate, cpu, texts read by sentence" in shown
    assert "student: decoded by engine, native, texts read by sentence" in shown
    assert "student: generate gives the engine's ids for 1 of 1 examples" in shown
    record = json.loads(output.read_text())
    assert record["decoded_by"] == {"teacher": "generate, cpu", "student": "engine, native"}
    assert record["decoding"]["max_length"] == 6
    assert set(record["scores"]) == {"BLEU", "chrF"}


def test_a_model_beside_itself_has_not_changed(teachers, pairs, tmp_path: Path, capsys) -> None:
    assert compare(*[teachers["bart"]] * 2, "--data", pairs, "--limit", "3", "--task", "summarization") == 0
    assert "0 of 3 outputs differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("student", "arguments", "message"),
    [
        ("bart", [], "neither .* is a packed artifact, so --task is needed"),
        ("shipped", [], "takes --source-language de_DE --target-language en_XX or .*; none of them is given"),
        ("shipped", ["--task", "summarization", *DIRECTION], "--task is summarization, but .* was made for translation"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(teachers, pairs, capsys, student: str, arguments, message: str) -> None:
    other = SHIPPED if student == "shipped" else teachers[student]
    assert compare(teachers["mbart50"], other, "--data", pairs, "--max-source-tokens", "64", *arguments) == 1
    assert re.search(message, capsys.readouterr().err)
