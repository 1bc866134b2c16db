"""What lies in the folder is used where it is whole, ours and the model's; else it is made anew, or done without."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from quant.faults import ArtifactError
from quant.stored_tensors import OpenFile
from serving.engine.native import packed_folder as module
from serving.engine.native.packed_file import VERSION, UntrustedFile, first_byte, open_packed
from serving.engine.native.packed_folder import PackedFolder, default_folders, packed_folder
from serving.engine.native.packed_weights import Memory

KEY, SIZE = bytes(range(32)), 10_000


@pytest.fixture
def folder(tmp_path: Path) -> PackedFolder:
    return PackedFolder(tmp_path / "cache")


class Fill:
    """Fills memory with a byte, and counts how often."""

    def __init__(self, value: int = 7) -> None:
        self.value = value
        self.times = 0

    def __call__(self, memory: Memory) -> None:
        memory.view(0, torch.uint8, SIZE).fill_(self.value)
        self.times += 1


def content(memory: Memory) -> set[int]:
    return set(memory.view(0, torch.uint8, SIZE).tolist())


def packed_files(folder: PackedFolder) -> list[Path]:
    return sorted(folder.path.glob("*.packed"))


def test_what_was_packed_once_is_mapped(folder: PackedFolder) -> None:
    fill = Fill()
    assert not folder.has(KEY, SIZE)
    assert content(folder.weights(KEY, SIZE, fill)) == {7}
    assert folder.has(KEY, SIZE)
    assert content(PackedFolder(folder.path).weights(KEY, SIZE, fill)) == {7}
    assert fill.times == 1
    assert [path.stat().st_mode & 0o777 for path in packed_files(folder)] == [0o600]
    assert not list(folder.path.glob("*.partial"))


def test_another_key_is_another_file(folder: PackedFolder) -> None:
    folder.weights(KEY, SIZE, Fill(1))
    assert content(folder.weights(KEY[::-1], SIZE, Fill(2))) == {2}
    assert len(packed_files(folder)) == 2


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def written_at(place: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"\x2a")

    return write


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "bytes, "),
        (written_at(3), "another model or version"),
        (written_at(16), "another model or version"),
        (written_at(25), "another model or version"),
        (written_at(61), "its start was altered"),
        (written_at(first_byte(SIZE) + 4321), "its weights were altered"),
        (lambda path: path.chmod(0o660), "others than its owner may write"),
        (linked, "symbolic links"),
    ],
)
def test_a_file_that_is_not_trusted_is_made_anew(
    damage: Callable[[Path], None], reason: str, folder: PackedFolder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.weights(KEY, SIZE, Fill())
    (path,) = packed_files(folder)
    damage(path)
    fill = Fill()
    assert content(folder.weights(KEY, SIZE, fill)) == {7}
    assert fill.times == 1
    assert f"{path} is not used, and made anew" in caplog.text
    assert reason in caplog.text
    assert content(open_packed(path, KEY, SIZE)) == {7}


def test_what_is_mapped_outlives_its_file(folder: PackedFolder) -> None:
    memory = folder.weights(KEY, SIZE, Fill())
    packed_files(folder)[0].unlink()
    assert content(memory) == {7}


def test_a_foreign_file_or_folder_is_not_used(folder: PackedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.weights(KEY, SIZE, Fill())
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    (path,) = packed_files(folder)
    if path.stat().st_uid == 0:
        assert content(open_packed(path, KEY, SIZE)) == {7}  # Root may do as it likes anyway.
        os.chown(path, 1234, -1)
        os.chown(folder.path, 1234, -1)
    with pytest.raises(UntrustedFile, match=r"it belongs to user \d+, not to 4321"):
        open_packed(path, KEY, SIZE)
    with pytest.raises(UntrustedFile, match="it belongs to user"):
        PackedFolder(folder.path)


def test_a_folder_that_others_may_write_to_is_not_used_which_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o777)
    packed_folder.cache_clear()
    module.say_once.cache_clear()
    assert packed_folder(str(tmp_path)) is None
    assert packed_folder(str(tmp_path)) is None
    assert caplog.text.count("others than its owner may write to it (mode 777)") == 1
    assert packed_folder("none") is None


def test_a_fault_while_packing_leaves_nothing(folder: PackedFolder) -> None:
    def fill(memory: Memory) -> None:
        raise ArtifactError("foreign bytes")

    with pytest.raises(ArtifactError, match="foreign bytes"):
        folder.weights(KEY, SIZE, fill)
    assert not [path for path in folder.path.iterdir() if path.suffix != ".lock"]


def test_a_disk_without_room_is_found_before_anything_is_packed(
    folder: PackedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    fill = Fill()
    with pytest.raises(OSError, match="No space left"):
        folder.weights(KEY, SIZE, fill)
    assert fill.times == 0
    assert not packed_files(folder)


def test_of_several_writers_one_packs_and_all_have_it(folder: PackedFolder) -> None:
    """A lock is of who opened its file: threads that open it each are to one another as processes are."""
    fill, packing = Fill(), threading.Event()

    def slowly(memory: Memory) -> None:
        packing.set()
        time.sleep(0.05)  # The others come meanwhile, or later; either way they find what is written here.
        fill(memory)

    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(folder.weights, KEY, SIZE, slowly)
        assert packing.wait(60)
        others = [threads.submit(PackedFolder(folder.path).weights, KEY, SIZE, slowly) for _ in range(2)]
        assert [content(each.result()) for each in (first, *others)] == [{7}] * 3
    assert fill.times == 1
    assert len(packed_files(folder)) == 1


def test_writers_that_cannot_lock_do_not_disturb_each_other(folder: PackedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    both, fill = threading.Barrier(2), Fill()

    def together(memory: Memory) -> None:
        both.wait(60)
        fill(memory)

    with ThreadPoolExecutor(2) as threads:
        written = [threads.submit(PackedFolder(folder.path).weights, KEY, SIZE, together) for _ in range(2)]
        assert [content(each.result()) for each in written] == [{7}] * 2
    assert fill.times == 2
    assert content(open_packed(packed_files(folder)[0], KEY, SIZE)) == {7}


def aged(path: Path, days: float) -> Path:
    path.touch()
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))
    return path


def test_what_nobody_uses_is_removed(folder: PackedFolder) -> None:
    ours, others = f"-avx2-{VERSION}.packed", f"-avx2-{VERSION + 1}.packed"
    a, b = "a" * 64, "b" * 64
    young = {f"{a}{ours}": 29, f"{a}{others}": 0.5, f"{a}.known": 29, f"{a}{ours}.x_1.partial": 0.5}
    old = {f"{b}{ours}": 31, f"{b}{others}": 1.5, f"{b}.known": 31, f"{b}{ours}.lock": 31}
    old |= {f"{b}{ours}.x_1.partial": 1.5, f"{b}.x_1.partial": 1.5}
    kept, gone = ([aged(folder.path / name, days) for name, days in files.items()] for files in (young, old))
    folder.clean()
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone)


@pytest.mark.parametrize("name", ["notes.txt", "model.safetensors", "a.packed", "b.lock", f"{'c' * 64}.txt", "d" * 64])
def test_what_others_keep_there_is_left_alone(folder: PackedFolder, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 0)
    theirs = aged(folder.path / name, 100)
    folder.weights(KEY, SIZE, Fill())
    assert theirs.exists()


def test_what_a_killed_process_left_is_removed_by_the_next(folder: PackedFolder) -> None:
    child = os.fork()
    if child == 0:
        try:
            folder.weights(KEY, SIZE, lambda memory: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    assert list(folder.path.glob("*.partial"))
    assert content(folder.weights(KEY, SIZE, Fill())) == {7}
    assert not list(folder.path.glob("*.partial"))


def test_of_too_much_the_longest_unused_goes(folder: PackedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in range(3):
        folder.weights(bytes([value]) * 32, SIZE, Fill())
        path = folder.path / folder._name(bytes([value]) * 32)
        os.utime(path, (1_000 * (3 - value), time.time() - 1_000 * (3 - value)))
    folder.has(bytes([0]) * 32, SIZE)  # Which is a use.
    monkeypatch.setattr(module, "MOST_BYTES", 25_000)
    folder.clean()
    assert [folder.has(bytes([value]) * 32, SIZE) for value in range(3)] == [True, False, False]


def test_a_digest_is_kept_by_the_state_of_the_file(
    folder: PackedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLED_SECONDS", -1.0)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"one")
    digest = folder.digest(path, OpenFile(path))
    read: list[str] = []
    compute = OpenFile.digest
    monkeypatch.setattr(OpenFile, "digest", lambda file: read.append("") or compute(file))  # type: ignore[func-returns-value]
    assert folder.digest(path, OpenFile(path)) == digest
    assert not read
    stat = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # The time of its change cannot be set back.
    assert folder.digest(path, OpenFile(path)) == OpenFile(path).digest() != digest
    assert read


def test_a_file_that_was_just_written_is_read_again(folder: PackedFolder, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"one")
    folder.digest(path, OpenFile(path))
    assert not list(folder.path.glob("*.known"))


def test_a_container_may_have_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folders()[0] == Path("/somewhere/dqbart")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_folders()[0] == Path("/home/somebody/.cache/dqbart")
    assert default_folders()[1].name == f"dqbart-{os.geteuid()}"
