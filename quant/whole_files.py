"""Files that are there whole or not at all, after a full disk and after a power cut.

What is written goes beside its place, is flushed to the disk, and only then renamed: a rename replaces the old file at once,
but without the flush the name could outlive a power cut and the content not. It needs room for the old and the new at once.
A failed write takes its own half away again and leaves what stood there before. All files may be read by whom the umask lets
read them: libraries that write tensors make files for their owner alone.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

if TYPE_CHECKING:
    from torch import Tensor

PARTIAL = ".partial"
NO_METADATA: Mapping[str, str] = {}
_PREVIOUS = ".previous"
_READ_AND_WRITE = 0o666


class WriteError(OSError):
    """A file or folder that could not be written. The message says why, and that what stood there before is whole."""

    def __init__(self, target: Path, reason: str) -> None:
        kept = "; what was there before is whole" if target.exists() else ""
        super().__init__(f"{target} cannot be written: {reason}{kept}")
        self.reason = reason


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder beside `folder` that takes its place at the end of the block. Raises WriteError."""
    partial = folder.with_name(folder.name + PARTIAL)
    previous = folder.with_name(folder.name + _PREVIOUS)
    with _cleared(folder, partial):
        partial.mkdir(parents=True)
        yield partial
        _flush_all(partial)
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            os.replace(folder, previous)
        os.replace(partial, folder)
        _flush(folder.parent)
        shutil.rmtree(previous, ignore_errors=True)


def latest(folder: Path) -> Path:
    """Where the content of a `whole_folder` lies: beside its place when a save stopped between its two renames."""
    previous = folder.with_name(folder.name + _PREVIOUS)
    return previous if not folder.exists() and previous.exists() else folder


@contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """Yields an empty folder inside `folder`; at the end of the block its files replace those of the same names.

    Other files of `folder` stay. Raises WriteError.
    """
    partial = folder / PARTIAL
    with _cleared(folder, partial):
        partial.mkdir(parents=True)
        yield partial
        _flush_all(partial)
        for path in sorted(partial.iterdir()):
            os.replace(path, folder / path.name)
        _flush(folder)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] = NO_METADATA) -> None:
    """Write tensors from any device as one safetensors file, the same bytes for the same content. Raises WriteError."""
    from safetensors.torch import save_file  # imports torch, which takes seconds that files of other things need not wait

    partial = path.with_name(path.name + PARTIAL)
    with _cleared(path, partial):
        own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        partial.touch()
        mode = partial.stat().st_mode  # as the umask has it
        save_file(own, partial, metadata=dict(metadata) or None)
        partial.chmod(mode)
        if metadata:
            _sort_metadata(partial)
        _flush(partial)
        os.replace(partial, path)
        _flush(path.parent)


def _sort_metadata(path: Path) -> None:
    """safetensors sorts the tensors of a file but writes the metadata in an order that changes from process to process."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(length))
        entries["__metadata__"] = dict(sorted(entries["__metadata__"].items()))
        header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        if len(header) > length:
            raise ValueError(f"the header of {path} grew from {length} to {len(header)} bytes")
        file.seek(8)
        file.write(header.ljust(length))


@contextmanager
def _cleared(target: Path, partial: Path) -> Iterator[None]:
    """Nothing is left of `partial`, neither from an earlier process nor by a fault of this one."""
    _remove(partial)
    try:
        yield
    except WriteError as error:  # of a file in the partial folder
        raise WriteError(target, error.reason) from error
    except OSError as error:
        raise WriteError(target, error.strerror or str(error)) from error
    except SafetensorError as error:  # wraps the system's error in a text of its own
        raise WriteError(target, str(error)) from error
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush_all(folder: Path) -> None:
    """Everything in a folder that was just made: its mode is what the umask has, so that its files' follows from it."""
    mode = folder.stat().st_mode & _READ_AND_WRITE
    for path in folder.iterdir():
        if path.is_file():
            path.chmod(mode)
        _flush(path)
    _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
