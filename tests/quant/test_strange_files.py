"""Files of strangers: what they lead to, how large they are, and JSON that means one thing only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quant.strange_files import MissingFileError, StrangeFileError, parse_json, read_bytes, regular_file


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "../folder-of-another/secret"])
def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, target: str) -> None:
    for name in ("folder", "folder-of-another"):
        (tmp_path / name).mkdir()
    for secret in (tmp_path / "secret", tmp_path / "folder-of-another" / "secret"):
        secret.write_text("{}")
    (tmp_path / "folder" / "config.json").symlink_to(target)
    with pytest.raises(StrangeFileError, match=r"config\.json is a link out of its folder, which is not followed"):
        regular_file(tmp_path / "folder" / "config.json")


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "file").write_bytes(b"1")
    (tmp_path / "file").symlink_to("..data/file")
    assert read_bytes(tmp_path / "file", 1) == b"1"


@pytest.mark.parametrize("instead", ["folder", "pipe", "device", "circle"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, instead: str) -> None:
    path = tmp_path / "file"
    match instead:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "circle":
            path.symlink_to(path)
    with pytest.raises(MissingFileError, match="file is missing"):
        read_bytes(path, 10)


def test_a_file_with_holes_is_as_long_as_it_says(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(StrangeFileError, match=r"has 1099511627776 bytes, 10 at most are read"):
        read_bytes(tmp_path / "file", 10)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"a": 1, "a": 2}', "an object has the same name twice"),
        (b"NaN", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b'"\\ud800"', "half a surrogate pair"),
        (b"[" * 33 + b"]" * 33, "more than 32 lists and objects"),
        (b"[" * 900 + b"]" * 900, "more than 32 lists and objects"),
        (b"[" * 100_000, "more than 32 lists and objects"),
        (b"9" * 5000, "limit"),
        (b"\xff", "utf-8"),
        (b"", "Expecting value"),
    ],
)
def test_json_that_is_not_read(content: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_json(content)


def test_json_that_is_read() -> None:
    assert parse_json(b"[" * 32 + b'"\\ud83d\\ude00"' + b"]" * 32)
