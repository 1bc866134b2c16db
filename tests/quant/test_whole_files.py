"""Writes that fail leave what was there; the same content gives the same bytes."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from quant.whole_files import WriteError, latest, save_tensors, whole_files, whole_folder

LARGEST = 50_000


@contextmanager
def no_large_files() -> Iterator[None]:
    """The kernel refuses to write past LARGEST bytes of a file: writes really fail, as on a full disk.

    No longer than needed, for pytest may write its report into a file that is longer.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_much(folder: Path) -> None:
    with whole_files(folder) as partial:
        (partial / "b").write_text("newer")
        (partial / "c").write_text("x" * 2 * LARGEST)


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_the_umask_says_who_may_read(tmp_path: Path, umask: int) -> None:
    with whole_folder(tmp_path / "folder") as partial:
        save_file({"a": torch.ones(2)}, partial / "tensors")
        (partial / "text").write_text("text")
        (partial / "below").mkdir()
    with whole_files(tmp_path / "files") as partial:
        save_file({"a": torch.ones(2)}, partial / "tensors")
    save_tensors(tmp_path / "tensors", {"a": torch.ones(2)}, {"name": "value"})
    save_tensors(tmp_path / "bare", {"a": torch.ones(2)})
    modes = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    folders = dict.fromkeys(("folder", "folder/below", "files"), 0o777 & ~umask)
    files = dict.fromkeys(("folder/tensors", "folder/text", "files/tensors", "tensors", "bare"), 0o666 & ~umask)
    assert modes == folders | files


def test_the_same_tensors_and_metadata_are_the_same_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(3), "a": torch.ones(2, 2)}
    metadata = dict.fromkeys("qwertyuiop", 'ä "quoted" \n')
    for number in range(3):
        save_tensors(tmp_path / str(number), tensors, metadata)
    assert len({(tmp_path / str(number)).read_bytes() for number in range(3)}) == 1
    with safe_open(tmp_path / "0", framework="pt") as file:
        assert file.metadata() == metadata
        assert torch.equal(file.get_tensor("a"), tensors["a"])
        assert torch.equal(file.get_tensor("b"), tensors["b"])


def test_tensors_that_do_not_fit_leave_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, {"a": torch.ones(4)}, {"step": "1"})
    before = path.read_bytes()
    message = r"model\.safetensors cannot be written: .*; what was there before is whole"
    with no_large_files(), pytest.raises(WriteError, match=message):
        save_tensors(path, {"a": torch.ones(LARGEST)}, {"step": "2"})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for content in ("one", "two"):
        with whole_folder(tmp_path / "last") as partial:
            (partial / content).write_text(content)
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    assert [path.name for path in (tmp_path / "last").iterdir()] == ["two"]


def test_a_folder_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "last") as partial:
        (partial / "state.json").write_text("{}")
    message = r"last cannot be written: .*too large.*before is whole"
    with no_large_files(), pytest.raises(WriteError, match=message), whole_folder(tmp_path / "last") as partial:
        (partial / "state.json").write_text("x" * 2 * LARGEST)
    assert json.loads((tmp_path / "last" / "state.json").read_text()) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_a_first_write_that_fails_promises_nothing(tmp_path: Path) -> None:
    with no_large_files(), pytest.raises(WriteError) as failed:
        save_tensors(tmp_path / "a", {"a": torch.ones(LARGEST)}, {"step": "1"})
    assert "before" not in str(failed.value)
    assert not list(tmp_path.iterdir())


def test_a_save_that_stopped_between_its_renames_is_found_and_outlived(tmp_path: Path) -> None:
    (tmp_path / "last.previous").mkdir()
    (tmp_path / "last.previous" / "good").touch()
    assert latest(tmp_path / "last") == tmp_path / "last.previous"
    with whole_folder(tmp_path / "last") as partial:
        assert (latest(tmp_path / "last") / "good").exists(), "the only whole state went before there was another"
        (partial / "better").touch()
    assert latest(tmp_path / "last") == tmp_path / "last"
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_files_replace_those_of_their_names_all_or_none(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("old")
    with whole_files(tmp_path) as partial:
        (partial / "a").write_text("new")
        (partial / "b").write_text("new")
    with no_large_files(), pytest.raises(WriteError, match="too large"):
        write_much(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "new", "c": "old"}
