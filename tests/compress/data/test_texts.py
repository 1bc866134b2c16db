import json
from pathlib import Path

import pytest

from compress.data.texts import load_texts, segments
from compress.errors import DatasetError
from compress.model.teacher import load_teacher
from compress.model.told import Told


def test_lines_of_a_text_file_each_once(tmp_path: Path) -> None:
    file = tmp_path / "plain.txt"
    file.write_text("one text\n\n another \none text\n")
    assert load_texts([str(file)], "train", None) == ["one text", "another"]


def test_the_context_column_is_found_where_there_is_no_source(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"question": "q", "context": f"story  {n // 2}"}) + "\n" for n in range(4)))
    assert load_texts([str(file)], "train", None) == ["story 0", "story 1"]
    assert load_texts([str(file)], "train", "question") == ["q"]


def test_a_missing_column_names_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"body": "text"}\n')
    with pytest.raises(DatasetError, match=r"no column text or source .*: it has body; --source-field names one"):
        load_texts([str(file)], "train", None)
    with pytest.raises(DatasetError, match=r"nothing\.txt does not exist"):
        load_texts([str(tmp_path / "nothing.txt")], "train", None)


def test_segments_are_whole_sources_and_targets(teachers: dict[str, str]) -> None:
    text_format = load_teacher(teachers["bart"], Told("summarization")).text_format
    letters = "abcdefghijklmnopqrstuvwxyz" * 2
    first, second = segments([letters[:40]], text_format, 22)
    assert (len(first.source_ids), len(second.source_ids)) == (22, 22)
    assert first.label_ids == first.source_ids
    assert first.decoder_ids == [2, *first.source_ids[:-1]]
    assert text_format.decode([*first.source_ids[1:-1], *second.source_ids[1:-1]]) == letters[:40]
    # What is left of a document is used when it is long enough to learn from.
    assert [len(each.source_ids) for each in segments([letters[:25]], text_format, 22)] == [22]
    assert [len(each.source_ids) for each in segments(["ab"], text_format, 22)] == [4]
