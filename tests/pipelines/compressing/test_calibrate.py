"""`dqbart compress --calibrate` as a user types it: the texts, what is told, interruptions, and steps that come after it."""

import json
from pathlib import Path

import pytest
import torch

from compress import calibrating
from compress.calibration.calibration import calibrate
from compress.model.teacher import load_teacher
from compress.model.told import Told
from pipelines.compressing.labelling import written_by
from quant.artifact import read_artifact
from quant.numerics import quantize

from .test_compress import DIRECTION, compress_arguments, dqbart

NO_STEPS = ["--task", "translation", *DIRECTION, "--max-steps", "0", "--bf16", "off"]


@pytest.fixture
def sources(tmp_path: Path) -> str:
    """Texts without targets."""
    path = tmp_path / "sources.jsonl"
    words = ["guten tag", "wie geht es dir", "der hund schlaeft im garten", "was ist das", "nein danke"]
    path.write_text("".join(json.dumps({"source": f"{one} {other}"}) + "\n" for one in words for other in words))
    return str(path)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_without_steps_a_student_is_calibrated_and_says_so(teachers, pairs, sources, tmp_path: Path, capsys) -> None:
    output, again = tmp_path / "student", tmp_path / "again"
    given = ["--calibration", sources, "--calibration-examples", "20"]
    for folder in (output, again):
        assert dqbart("compress", *compress_arguments(teachers["mbart50"], pairs, folder, *NO_STEPS, *given)) == 0
    shown = capsys.readouterr().out
    assert "calibrated on " in shown
    assert "% of the last states lost" in shown
    assert weights(output) == weights(again)
    assert not (output / "training").exists()
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["flags"]["calibration"] == ["sources.jsonl"]
    assert 0 < manifest["calibration"]["examples"] <= 20  # less those for which the teacher writes nothing
    assert manifest["calibration"]["lost"] < 1
    assert "| calibrated on | " in (output / "README.md").read_text()
    assert dqbart("inspect", str(output)) == 0
    assert "calibrated on" in capsys.readouterr().out
    evaluation = ["--data", pairs, "--limit", "4", "--num-beams", "2", "--device", "cpu", *DIRECTION]
    assert dqbart("evaluate", str(output), *evaluation, "--check-generate", "4") == 0
    assert "generate gives the engine's ids for 4 of 4 examples" in capsys.readouterr().out


def test_without_calibration_weights_are_rounded_to_the_nearest(teachers, pairs, tmp_path: Path) -> None:
    arguments = compress_arguments(teachers["bart"], pairs, tmp_path, "--task", "summarization", "--max-steps", "0")
    assert dqbart("compress", *arguments, "--no-calibrate", "--layers", "3-3") == 0
    teacher, artifact = load_teacher(teachers["bart"], Told("summarization")), read_artifact(tmp_path)
    name = "model.encoder.layers.1.fc1.weight"
    assert torch.equal(artifact.quantized(name).codes, quantize(teacher.model.get_parameter(name), 2, "row").codes)
    assert "calibration" not in json.loads((tmp_path / "manifest.json").read_text())


def test_a_student_in_full_precision_is_healed(teachers, pairs, tmp_path: Path, capsys) -> None:
    arguments = compress_arguments(teachers["bart"], pairs, tmp_path, "--task", "summarization", "--max-steps", "0")
    assert dqbart("compress", *arguments, "--bits", "full", "--layers", "3-1") == 0
    assert "calibrated on" in capsys.readouterr().out
    assert "calibration" in json.loads((tmp_path / "manifest.json").read_text())


def test_calibrating_what_lacks_nothing_is_refused(teachers, pairs, tmp_path: Path, capsys) -> None:
    arguments = compress_arguments(teachers["bart"], pairs, tmp_path, "--task", "summarization", "--max-steps", "0")
    assert dqbart("compress", *arguments, "--bits", "full", "--layers", "3-3", "--calibrate") == 1
    assert "calibrate: nothing to make good in a student with all layers" in capsys.readouterr().err


def test_texts_of_other_columns_are_told_at_once(teachers, pairs, tmp_path: Path, capsys) -> None:
    (tmp_path / "other.jsonl").write_text('{"text": "guten tag"}\n')
    arguments = compress_arguments(teachers["mbart50"], pairs, tmp_path / "student", *NO_STEPS)
    assert dqbart("compress", *arguments, "--calibration", str(tmp_path / "other.jsonl")) == 1
    assert "has no column source: it has text; --source-field names others" in " ".join(capsys.readouterr().err.split())


def test_one_that_is_interrupted_goes_on_where_it_was(teachers, pairs, tmp_path: Path, monkeypatch, capsys) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    arguments = compress_arguments(teachers["mbart50"], pairs, part, *NO_STEPS, "--layers", "2-2")
    done: list[int] = []

    def two_parts(student, teacher, layers, examples, saved, advance):
        def advanced(count: int) -> None:
            advance(count)
            done.append(count)
            if len(done) == 2:
                raise calibrating.CalibrationInterrupted

        return calibrate(student, teacher, layers, examples, saved, advanced)

    monkeypatch.setattr(calibrating, "calibrate", two_parts)
    assert dqbart("compress", *arguments) == 130
    assert "interrupted in the calibration, saved; continue with --resume" in capsys.readouterr().out
    monkeypatch.undo()
    assert dqbart("compress", *arguments) == 1
    assert "holds an earlier run: --resume continues it" in capsys.readouterr().err
    assert dqbart("compress", *arguments, "--resume", "--seed", "5") == 1
    assert "training.seed was 0, is 5" in capsys.readouterr().err

    def labels_again(*_):
        raise AssertionError("labelled twice")

    monkeypatch.setattr("pipelines.compressing.run_compress.written_by", labels_again)
    assert dqbart("compress", *arguments, "--resume") == 0
    monkeypatch.undo()
    assert dqbart("compress", *compress_arguments(teachers["mbart50"], pairs, whole, *NO_STEPS, "--layers", "2-2")) == 0
    assert weights(whole) == weights(part)


def test_steps_that_come_after_it_can_be_resumed(teachers, pairs, tmp_path: Path, capsys) -> None:
    training = ["--task", "translation", *DIRECTION, "--max-steps", "2", "--calibrate", "--calibration-examples", "10"]
    arguments = compress_arguments(teachers["mbart50"], pairs, tmp_path, *training)
    assert dqbart("compress", *arguments) == 0
    assert not (tmp_path / "training" / "calibration").exists()
    record = json.loads((tmp_path / "manifest.json").read_text())["calibration"]
    capsys.readouterr()
    assert dqbart("compress", *arguments, "--resume") == 0
    shown = capsys.readouterr().out
    assert "resumed at step 2" in shown
    assert "calibrated on" not in shown
    assert json.loads((tmp_path / "manifest.json").read_text())["calibration"] == record


def test_the_teacher_writes_greedily_whatever_its_settings(teachers, tmp_path: Path) -> None:
    from compress.data.text_format import Example

    teacher = load_teacher(teachers["bart"], Told("summarization"))
    done: list[int] = []
    examples = [Example({"source": text}, "") for text in ("guten tag", "wie geht es dir", "ja")]
    written = written_by(teacher, tmp_path, examples, done.append)
    expected = []
    for example in teacher.text_format.encode(examples, 20):
        ids = torch.tensor([example.source_ids])
        (output,) = teacher.model.generate(ids, num_beams=1, do_sample=False, max_length=12)
        expected.append(teacher.text_format.decode(output.tolist()))
    assert sum(done) == 3
    assert list(map(len, written)) == list(map(len, expected))  # at 8 bits, letters may differ
