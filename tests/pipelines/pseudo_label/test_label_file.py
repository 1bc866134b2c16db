from pathlib import Path

import pytest

from pipelines.pseudo_label.label_file import LabelFile, LabelFileError


def test_a_file_is_continued_after_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    file = LabelFile(path, {"num_beams": 4})
    assert file.done == 0
    file.append(["eins\n", "zwei\n"])
    with path.open("a") as half:
        half.write("dr")
    again = LabelFile(path, {"num_beams": 4})
    assert again.done == 2
    again.append(["drei\n"])
    assert path.read_text() == "eins\nzwei\ndrei\n"


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    LabelFile(tmp_path / "labels.jsonl", {"num_beams": 4, "data": "x"})
    with pytest.raises(LabelFileError, match=r"with other settings: num_beams was 4, is 1$"):
        LabelFile(tmp_path / "labels.jsonl", {"num_beams": 1, "data": "x"})


def test_a_file_of_unknown_origin_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text("mine")
    with pytest.raises(LabelFileError, match="does not say"):
        LabelFile(tmp_path / "labels.jsonl", {})
    assert (tmp_path / "labels.jsonl").read_text() == "mine"
