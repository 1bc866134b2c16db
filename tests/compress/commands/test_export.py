"""`dqbart export` as a user types it."""

import stat
from pathlib import Path

import pytest

from compress.commands.export import Export
from dqbart.cli import run_command

SHIPPED = str(Path(__file__).parents[3] / "models" / "mbart-de-en-2-4-8")


def export(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        run_command(Export, "export", list(arguments))
    return int(stopped.value.code or 0)


@pytest.mark.parametrize("form", ["transformers", "int8"])
def test_a_new_or_an_empty_folder_is_written(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    for output in (tmp_path / "new" / "folder", tmp_path / "empty"):
        if output.name == "empty":
            output.mkdir()
        assert export(SHIPPED, str(output), "--format", form) == 0
        assert "MB of weights" in capsys.readouterr().out
        names = {path.name for path in output.iterdir()}
        assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (output / "config.json", output / "model.safetensors")}
        assert len(modes) == 1


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    assert export(SHIPPED, str(tmp_path)) == 1
    assert "is not empty: name a new or an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    assert export(SHIPPED, str(tmp_path / "kept.txt")) == 1
    assert "is a file" in capsys.readouterr().err


def test_only_artifacts_are_exported(teachers: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(teachers["bart"], str(tmp_path / "out")) == 1
    assert "is no artifact: its config.json has no quantization_config" in capsys.readouterr().err
    assert export("no-such-folder", str(tmp_path / "out")) == 1
    assert "no-such-folder is no folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_int8_has_no_other_dtype(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(SHIPPED, str(tmp_path / "out"), "--format", "int8", "--dtype", "float16") == 1
    assert "--dtype is float16" in capsys.readouterr().err
