"""The file of answers: what it is continued after, and when it is not continued."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.clients.output import OutputError, OutputFile


def test_a_file_is_continued_after_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "out.txt"
    first = OutputFile(path, {"model": "m"}, 1)
    assert first.done == 0
    first.append(["eins", "", "zwei"])
    again = OutputFile(path, {"model": "m"}, 1)
    assert again.done == 3
    again.append(["drei"])
    assert path.read_text() == "eins\n\nzwei\ndrei\n"


@pytest.mark.parametrize("left", ["a1\na2\nb1\n", "a1\na2\nb1\nb", "a1\na2\nb"])
def test_half_an_answer_is_cut_off(tmp_path: Path, left: str) -> None:
    path = tmp_path / "out.txt"
    OutputFile(path, {}, 2).append(left.split("\n")[:-1])
    path.write_text(left)
    assert OutputFile(path, {}, 2).done == 1
    assert path.read_text() == "a1\na2\n"


def test_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    OutputFile(path, {"num_beams": 1, "input": "x"}, 1).append(["a"])
    with pytest.raises(OutputError, match="was made otherwise: num_beams was 1, is 4; seed was None, is 3"):
        OutputFile(path, {"num_beams": 4, "input": "x", "seed": 3}, 1)
    with pytest.raises(OutputError, match="was made otherwise: the input has changed. Remove it"):
        OutputFile(path, {"num_beams": 1, "input": "y"}, 1)
    assert path.read_text() == "a\n"


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("precious\n")
    with pytest.raises(OutputError, match=r"exists, and out.txt.run.json beside it does not"):
        OutputFile(path, {}, 1)
    (tmp_path / "out.txt.run.json").write_text("{")
    with pytest.raises(OutputError, match="does not say what"):
        OutputFile(path, {}, 1)
    assert path.read_text() == "precious\n"
