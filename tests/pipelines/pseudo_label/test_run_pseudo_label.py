"""The command as a user types it, on a tiny translator and both directions."""

import json
from pathlib import Path

import pytest

from compress.data.dataset import Fields, Languages, load_examples
from compress.model.packed_student import load_student
from compress.model.teacher import load_teacher
from compress.model.told import Told
from compress.scoring.decoding import DecodingSettings, generate
from dqbart.cli import run_command
from pipelines.commands import PseudoLabel
from pipelines.pseudo_label.packed_teacher import pack_teacher

PAIR = ("de_DE", "en_XX")
ARGUMENTS = ["--task", "translation", "--both-directions", "--source-language", PAIR[0], "--target-language", PAIR[1]]


def pseudo_label(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        run_command(PseudoLabel, "pseudo-label", [*arguments, *ARGUMENTS, "--device", "cpu"])
    return int(stopped.value.code or 0)


def test_labels_are_what_generate_gives_and_a_file_is_continued(teachers, pairs, tmp_path: Path, capsys) -> None:
    output = tmp_path / "labels.jsonl"
    arguments = [teachers["mbart50"], "--source", pairs, "--output", str(output)]
    assert pseudo_label(*arguments, "--limit", "5") == 0
    whole = output.read_bytes()
    rows = [json.loads(line) for line in whole.decode().splitlines()]

    packed = tmp_path / "packed"
    pack_teacher(load_teacher(teachers["mbart50"], Told("translation", PAIR, both_directions=True)), packed)
    model, text_format, _ = load_student(packed)
    examples = load_examples(pairs, "train", "translation", Fields(), Languages(*PAIR, both=True), 5)
    encoded = text_format.encode(examples, 64)
    expected = generate(model, text_format, examples, encoded, DecodingSettings(), 200)
    assert [row["target"] for row in rows] == expected
    assert [row["source"] for row in rows] == [example.texts["source"] for example in examples]
    assert [row["original_target"] for row in rows] == [example.target for example in examples]
    assert [(row["source_language"], row["target_language"]) for row in rows] == [PAIR, PAIR[::-1]] * 5
    assert all(row["score"] < 0 for row in rows)

    # A process that was killed has left some lines and a half.
    third = [place for place, byte in enumerate(whole) if byte == ord("\n")][2]
    output.write_bytes(whole[: third + 20])
    assert pseudo_label(*arguments, "--limit", "5", "--workers", "2") == 0
    assert output.read_bytes() == whole
    assert "3 of them labelled before" in capsys.readouterr().out

    assert pseudo_label(*arguments, "--num-beams", "1") == 1
    assert "num_beams was 2, is 1" in capsys.readouterr().err

    trained = [row for row in rows if row["target"]]
    read = load_examples(str(output), "train", "translation", Fields(), Languages(*PAIR, both=True))
    assert [(each.texts["source"], each.target, each.target_language) for each in read] == [
        (row["source"], row["target"], row["target_language"]) for row in trained
    ]


def test_a_direction_that_an_artifact_has_not_is_refused(teachers, pairs, tmp_path: Path, capsys) -> None:
    packed = tmp_path / "packed"
    pack_teacher(load_teacher(teachers["mbart50"], Told("translation", PAIR)), packed)
    assert pseudo_label(str(packed), "--source", pairs, "--output", str(tmp_path / "x.jsonl")) == 1
    told = "takes --source-language de_DE --target-language en_XX; en_XX to de_DE is given"
    assert told in capsys.readouterr().err
    assert not (tmp_path / "x.jsonl").exists()
